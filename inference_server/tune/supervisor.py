"""Runs the training in processes of their own, one for each GPU, and knows how each of them ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Final

from attrs import field, frozen, mutable

from inference_server import contract
from inference_server.tune.channel import ENV_DESCRIPTOR, Listener
from inference_server.tune.progress import Progress

WORKER_MODULE: Final = "inference_server.tune.worker"
ENV_WORK: Final = "KAITO_TUNE_WORK"
# The device node of NVIDIA's driver, there in every container that was given a GPU.
_NVIDIA: Final = Path("/dev/nvidiactl")
# A process that is gone may leave children that hold its pipe; what it had to say is read by then.
_LAST_WORDS_S: Final = 10
_COUNT: Final = "import torch; print(torch.cuda.device_count())"


@frozen
class Ending:
    """How the training ended: exit code and cause, and after a good end the last report as JSON."""

    code: int
    cause: str
    report: str = ""


@mutable
class _Worker:
    rank: int
    process: subprocess.Popen[bytes]
    listener: Listener
    thread: Thread


@mutable(kw_only=True)
class Supervisor:
    """Starts the processes, hands signals on, and ends the others when one fails.

    Attributes:
        words: the arguments, which every process is given as they are.
        work: a folder for what the processes share; whoever made it removes it.
        gpus: GPU → bytes used and in all, as the processes tell it.
    """

    words: Sequence[str]
    work: Path
    progress: Progress
    gpus: dict[str, tuple[int, int]] = field(factory=dict)
    stop_signal: int | None = None
    _workers: list[_Worker] = field(factory=list, init=False)

    def run(self, count: int) -> Ending:
        """Trains with `count` processes and waits for all of them."""
        port = _free_port()
        for rank in range(count):
            self._workers.append(self._start(rank, count, port))
        if self.stop_signal is not None:
            self.stop(self.stop_signal)
        try:
            return self._wait()
        finally:
            self._kill()

    def stop(self, number: int) -> None:
        """Hands a signal on: the processes save a checkpoint and end. May be called from a signal handler."""
        self.stop_signal = number
        for worker in self._workers:
            # Not by the process's own methods: these reap what has just ended, and _wait would never hear of it.
            if worker.process.returncode is None:
                with suppress(ProcessLookupError):
                    os.kill(worker.process.pid, signal.SIGTERM)

    def _start(self, rank: int, count: int, port: int) -> _Worker:
        reading, writing = os.pipe()
        process = subprocess.Popen(  # noqa: S603 (our own module; no shell)
            [sys.executable, "-m", WORKER_MODULE, *self.words],
            pass_fds=(writing,),
            env={**os.environ, **_environment(rank, count, port, self.work), ENV_DESCRIPTOR: str(writing)},
        )
        os.close(writing)
        listener = Listener(self.progress, self.gpus)
        thread = Thread(target=listener.listen, args=(os.fdopen(reading, "rb"),), name=f"rank {rank}", daemon=True)
        thread.start()
        return _Worker(rank, process, listener, thread)

    def _wait(self) -> Ending:
        running = {worker.process.pid: worker for worker in self._workers}
        while running:
            # Whichever ends first; then it is reaped by its own object.
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            worker = running.pop(found.si_pid if found else 0, None)
            if worker is None:
                # As the first process of a container we inherit orphans.
                os.waitpid(found.si_pid if found else -1, 0)
                continue
            worker.process.wait()
            worker.thread.join(_LAST_WORDS_S)
            ending = self._ending(worker)
            if ending.code != contract.EXIT_OK:
                return ending
        return self._ending(self._workers[0])

    def _ending(self, worker: _Worker) -> Ending:
        code = worker.process.returncode
        if worker.listener.ended is not None and worker.listener.ended[0] == code:
            return Ending(*worker.listener.ended)
        if self.stop_signal is not None and code == -signal.SIGTERM:
            # So early that the process could not yet say it itself.
            return Ending(contract.EXIT_STOPPED, "stopped by a signal before a step was done")
        if code < 0:
            name = signal.Signals(-code).name
            why = ", most often because the container's memory was used up" if -code == signal.SIGKILL else ""
            return Ending(contract.EXIT_ENGINE, f"the training process was ended by {name}{why}")
        return Ending(contract.EXIT_ENGINE, f"the training process left with {code}; its own lines above say why")

    def _kill(self) -> None:
        # The others wait for the one that failed in a collective operation, deaf to anything gentler.
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.wait()
            worker.thread.join(_LAST_WORDS_S)


def processes_for_gpus() -> int:
    """One for each GPU that the container was given, and one where there is none."""
    if not _NVIDIA.exists():
        return 1
    # In a process of its own, so that the supervisor stays as small as a supervisor is.
    told = subprocess.run(  # noqa: S603 (our own words; no shell)
        [sys.executable, "-c", _COUNT], check=False, stdout=subprocess.PIPE, text=True
    ).stdout.strip()
    return max(1, int(told)) if told.isdecimal() else 1


def _environment(rank: int, count: int, port: int, work: Path) -> Mapping[str, str]:
    own = {
        ENV_WORK: str(work),
        # Everything that is needed was fetched; nothing below may go to a hub, or tell one anything.
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HOME": str(work / "home"),
        "HF_DATASETS_CACHE": str(work / "datasets"),
        "TOKENIZERS_PARALLELISM": "false",
        # Threads that wait spin by default, and then keep the CPU from whoever else is on the node.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive"),
        "PYTORCH_CUDA_ALLOC_CONF": os.environ.get("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True"),
    }
    if count == 1:
        return own
    return {
        **own,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
