"""`run`: trains, saves and pushes, tells how far it is, and ends with the reason."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from attrs import evolve

from inference_server import contract
from inference_server.refusal import InputError
from inference_server.tune import adapter, pushing, report
from inference_server.tune.arguments import Arguments
from inference_server.tune.progress import Progress, State
from inference_server.tune.supervisor import Ending, Supervisor, processes_for_gpus


def run(arguments: Arguments, words: Sequence[str]) -> Ending:
    """Runs the whole of it. Raises InputError for what can be refused before anything starts."""
    progress = Progress()
    _make_output(arguments.output)
    with tempfile.TemporaryDirectory(prefix="tune-") as work:
        supervisor = Supervisor(words=words, work=Path(work), progress=progress)
        with (
            report.answering(progress, arguments.host, arguments.port, lambda: dict(supervisor.gpus)),
            _signals(supervisor.stop),
        ):
            ending = _told(progress, lambda: _work(arguments, supervisor))
            _keep(arguments.output, progress)
    if ending.code != contract.EXIT_OK:
        return ending
    return evolve(ending, report=json.dumps(progress.now().report()))


def _work(arguments: Arguments, supervisor: Supervisor) -> Ending:
    if arguments.output_image is not None:
        # What is wrong with the Secret or the reference is told before the training, not after it.
        pushing.check(arguments)
    adapter.forget(arguments.output)
    ending = supervisor.run(arguments.processes or processes_for_gpus())
    if ending.code != contract.EXIT_OK:
        return ending
    if arguments.output_image is None:
        supervisor.progress.tell(output=str(arguments.output))
        adapter.complete(arguments.output)
        return Ending(contract.EXIT_OK, f"{ending.cause}; the adapter is in {arguments.output}")
    supervisor.progress.tell(state=State.PUSHING, message=f"pushing to {arguments.output_image}", eta_s=None)
    pushed = pushing.push(arguments)
    supervisor.progress.tell(output=pushed)
    adapter.complete(arguments.output)
    return Ending(contract.EXIT_OK, f"{ending.cause}; the adapter is {pushed}")


def _told(progress: Progress, work: Callable[[], Ending]) -> Ending:
    """Does the work, and tells the report how it ended while that is still answered."""
    try:
        ending = work()
    except InputError as refusal:
        ending = Ending(refusal.exit_code, str(refusal))
    except OSError as error:
        ending = Ending(contract.EXIT_OUTPUT, f"the disk: {error}")
    state = State.SUCCEEDED if ending.code == contract.EXIT_OK else State.FAILED
    progress.tell(state=state, message=ending.cause, eta_s=None)
    return ending


def _make_output(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        probe = output / ".tuning-writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise InputError(
            field=f"output {output}",
            rule="a folder to write to",
            found=error.strerror or "an error",
            remedy="look at the volume's size and access mode",
            exit_code=contract.EXIT_OUTPUT,
        ) from error


def _keep(output: Path, progress: Progress) -> None:
    """The last report stays beside the adapter; a full disk is no reason to lose the cause, which is told elsewhere."""
    try:
        text = json.dumps(progress.now().report(), indent=1, ensure_ascii=False)
        (output / contract.TUNING_REPORT_FILE_NAME).write_text(f"{text}\n", encoding="utf-8")
    except OSError:
        return


@contextmanager
def _signals(stop: Callable[[int], None]) -> Iterator[None]:
    def handle(number: int, _frame: FrameType | None) -> None:
        stop(number)

    before: dict[int, Any] = {one: signal.signal(one, handle) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
