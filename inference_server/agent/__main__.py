"""`python -m inference_server.agent [ARG VALUE]…`: brings the model, then keeps the engine to the wanted adapters."""

from __future__ import annotations

import hashlib
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from inference_server import contract, ending, pages
from inference_server.agent import base_model, report, wanted, weights
from inference_server.agent.agent import ACT_S, STEP_S, Agent
from inference_server.agent.engine import LOAD_TIMEOUT_S, Engine
from inference_server.agent.inspection import Checks
from inference_server.agent.metrics import Metrics
from inference_server.agent.options import Options, parse
from inference_server.agent.preparation import Preparer
from inference_server.agent.sources import ImageSource, Sources
from inference_server.refusal import InputError
from inference_server.weights.keeper import Keeper
from inference_server.weights.state import Phase

# Fetches side by side: enough that one slow registry does not hold up the others.
FETCHES: Final = 4
# The longest step: at its last moment it begins to replace an adapter (one goes, the new one comes, or the old one
# again).
STUCK_S: Final = ACT_S + 4 * LOAD_TIMEOUT_S


def main(words: Sequence[str]) -> int:
    """Runs until a signal and returns the exit code."""
    try:
        return run(parse(words))
    except InputError as refusal:
        code, cause = refusal.exit_code, str(refusal)
    except Exception as error:  # noqa: BLE001 (a fault of our own, and the cause must still be told)
        traceback.print_exception(error)
        code, cause = contract.EXIT_ENGINE, f"a fault of the agent's own: {type(error).__name__}: {error}"
    ending.tell(f"inference_server.agent: ended ({code}): {cause}")
    return code


def run(options: Options) -> int:
    """The real thing: threads for fetching and for answering, and the loop in this one."""
    woken, ended = threading.Event(), threading.Event()

    def end(*_: object) -> None:
        ended.set()
        woken.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    metrics, pulse = Metrics(), [time.monotonic()]
    keeper = weights.start(options.weights) if options.weights is not None else None
    if keeper is not None:
        weights.register(metrics.registry, keeper.state)
    told: list[Callable[[], Mapping[str, Any]]] = []
    with pages.answering(options.host, options.port, _pages(keeper, told, metrics, pulse)):
        # Adapters are held against the model's own files, and the engine takes none before it has loaded these.
        while keeper is not None and keeper.state.standing().phase is not Phase.READY and not ended.is_set():
            pulse[0] = time.monotonic()
            ended.wait(STEP_S)
        if keeper is not None and not options.wanted.parent.is_dir():
            while not ended.wait(STEP_S):
                pulse[0] = time.monotonic()
            return contract.EXIT_OK
        model = keeper.state.standing().folder if keeper is not None else options.model
        fetches = ThreadPoolExecutor(FETCHES, thread_name_prefix="fetch")
        agent = _agent(options, model, metrics, fetches, woken.set)
        told.append(lambda: agent.told)
        while not ended.is_set():
            woken.clear()
            agent.step()
            pulse[0] = time.monotonic()
            woken.wait(STEP_S)
    # A fetch that is on its way is given up: it left nothing that counts.
    fetches.shutdown(wait=False, cancel_futures=True)
    return contract.EXIT_OK


def _agent(
    options: Options, model: str, metrics: Metrics, fetches: ThreadPoolExecutor, wake: Callable[[], None]
) -> Agent:
    base = base_model.BaseFinder(model=model, names=options.names, downloads=options.downloads)
    checks = Checks(find_base=base.find, max_rank=options.max_lora_rank)
    return Agent(
        engine=Engine(options.engine),
        preparing=Preparer(cache=options.cache, sources=Sources(image=ImageSource(options.secrets)), checks=checks),
        cache=str(options.cache),
        read_wanted=lambda: _read(options.wanted),
        read_secrets=lambda: _signature(options.secrets),
        submit=fetches.submit,
        clock=time.monotonic,
        wake=wake,
        metrics=metrics,
    )


def _pages(
    keeper: Keeper | None, told: Sequence[Callable[[], Mapping[str, Any]]], metrics: Metrics, pulse: Sequence[float]
) -> pages.Pages:
    def health() -> pages.Body:
        alive = time.monotonic() - pulse[0] < STUCK_S
        return HTTPStatus.OK if alive else HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b""

    def whole() -> pages.Body:
        part = {"weights": keeper.state.standing().report()} if keeper is not None else {}
        adapters = told[0]() if told else {"adapters": []}
        return HTTPStatus.OK, "application/json", report.encode({**adapters, **part})

    return pages.Pages(
        {
            contract.REPORT_PATH: whole,
            contract.METRICS_PATH: lambda: (HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(metrics.registry)),
            contract.HEALTH_PATH: health,
        }
    )


def _read(path: Path) -> bytes | None:
    """One byte more than is allowed shows that there is more."""
    try:
        with path.open("rb") as file:
            return file.read(wanted.MAX_BYTES + 1)
    except FileNotFoundError:
        return None


def _signature(secrets: Path) -> str:
    """A text that changes when a mounted Secret does: the kubelet swaps the link `..data` in its folder."""
    told = []
    try:
        for path in sorted(secrets.glob("*/*")):
            found = path.stat()
            told.append(f"{path} {found.st_ino} {found.st_mtime_ns} {found.st_size}")
    except OSError:
        # In the middle of such a swap: the next look sees it whole.
        return ""
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


if __name__ == "__main__":
    ending.leave(main(sys.argv[1:]))
