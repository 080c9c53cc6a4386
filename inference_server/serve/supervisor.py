"""Runs the engine as a child process: passes output and signals on, outlives its crashes, and tells their cause.

A process that dies of memory, of a signal or in native code cannot write its own termination message; its parent can.
Beside that the parent does nothing: no request passes through it.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final

from attrs import define, field, frozen

from inference_server import contract
from inference_server.serve import causes, leader
from inference_server.serve.causes import Cause, End
from inference_server.serve.output import Complaint, Complaints

# The engine writes its verdict to the file descriptor that this variable names, as one JSON object.
ENV_VERDICT: Final = "KAITO_VERDICT_FD"
MAX_VERDICT_BYTES: Final = 16 * 1024
MAX_CAUSE: Final = 2000
CHUNK_BYTES: Final = 64 * 1024
# What the engine's leftovers may still say after the engine itself has ended.
LAST_WORDS_S: Final = 1.0
# After the drain, vLLM gives back the GPU; the kubelet kills what is left at TERMINATION_SECONDS.
STOP_SECONDS: Final = contract.TERMINATION_SECONDS - 5
CGROUP_EVENTS: Final = Path("/sys/fs/cgroup/memory.events")


@frozen(kw_only=True)
class Verdict:
    """What the engine's process says of its own end. `final` when it is a refusal that needs no further search."""

    code: int
    cause: str
    final: bool


def report(verdict: Verdict) -> None:
    """Called in the child: hands the verdict to the parent, if there is one."""
    number = os.environ.get(ENV_VERDICT, "")
    if number.isdecimal():
        line = json.dumps({"code": verdict.code, "cause": verdict.cause[:MAX_CAUSE], "final": verdict.final})
        with suppress(OSError):
            os.write(int(number), line.encode())


@define
class Supervisor:
    """One run of the engine. `later_rank_of` is where the first rank serves, for a rank above 0."""

    command: Sequence[str]
    environment: Mapping[str, str]
    later_rank_of: tuple[str, int] | None = None
    received: int | None = None
    _stop_by: float | None = None
    _process: Any = None
    _complaints: list[Complaints] = field(factory=lambda: [Complaints(), Complaints()])

    def run(self) -> Cause:
        """Runs the command to its end and says how it ended."""
        kills_before = oom_kills()
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        environment = {**self.environment, ENV_VERDICT: str(writing)}
        with self._signals(), os.fdopen(reading, "rb", buffering=0) as verdicts:
            self._process = subprocess.Popen(  # noqa: S603 (our own interpreter and module, as a list of words)
                self.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=(writing,),
            )
            os.close(writing)
            if self.received is not None:
                self._forward(self.received)
            self._pass_on()
            verdict = _read_verdict(verdicts.read(MAX_VERDICT_BYTES))
        end = End(
            code=self._process.returncode,
            complaints=self._told(),
            oom_kills=oom_kills() - kills_before,
            shared_memory=shared_memory(),
        )
        return self._cause(end, verdict)

    def _cause(self, end: End, verdict: Verdict | None) -> Cause:
        if verdict is not None and verdict.final:
            return Cause(code=verdict.code, text=verdict.cause)
        if self.received is not None:
            name = signal.Signals(self.received).name
            cut = self._stop_by is not None and time.monotonic() >= self._stop_by
            text = f"stopped by {name}" + (f", and cut off after {STOP_SECONDS} s" if cut else "")
            return Cause(code=contract.EXIT_OK, text=text)
        if verdict is not None and verdict.code == contract.EXIT_OK:
            return Cause(code=verdict.code, text=verdict.cause)
        return causes.cause(end, verdict.cause if verdict is not None else "")

    def _told(self) -> tuple[Complaint, ...]:
        return tuple(one for complaints in self._complaints for one in complaints.kept)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = [signal.signal(number, self._receive) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self.received = self.received or number
        if self._stop_by is None:
            self._stop_by = time.monotonic() + STOP_SECONDS
            if self.later_rank_of is not None and number == signal.SIGTERM:
                # The first rank still answers with the help of this one: see _wait.
                return
        self._forward(number)

    def _forward(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _pass_on(self) -> None:
        """Copies the child's output to ours until it has ended and nothing more comes."""
        with selectors.DefaultSelector() as selector:
            streams = (self._process.stdout, self._process.stderr)
            for stream, target, complaints in zip(streams, (1, 2), self._complaints, strict=True):
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ, (target, complaints))
            while self._process.poll() is None:
                self._copy(selector, 0.2)
                self._wait()
            limit = time.monotonic() + LAST_WORDS_S
            while selector.get_map() and time.monotonic() < limit:
                self._copy(selector, 0.1)
            self._end_leftovers()
            while selector.get_map() and self._copy(selector, 0.1):
                pass
            for stream in streams:
                stream.close()
        for complaints in self._complaints:
            complaints.end()

    def _wait(self) -> None:
        """What is to be done at its time: let a later rank go when the first has gone; end what does not end."""
        if self._stop_by is None:
            return
        if self.later_rank_of is not None and leader.is_gone(*self.later_rank_of):
            self.later_rank_of = None
            self._forward(signal.SIGTERM)
        if time.monotonic() >= self._stop_by:
            self._end_leftovers()

    def _end_leftovers(self) -> None:
        """Ends what is left of the engine's process group: processes that hold the GPU and wait for a dead parent."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    @staticmethod
    def _copy(selector: selectors.BaseSelector, timeout_s: float) -> bool:
        ready = selector.select(timeout_s)
        for key, _ in ready:
            target, complaints = key.data
            data = os.read(key.fd, CHUNK_BYTES)
            if not data:
                selector.unregister(key.fileobj)
                continue
            _write(target, data)
            complaints.feed(data)
        return bool(ready)


def _write(target: int, data: bytes) -> None:
    """Writes all of it; when nobody reads our output the engine goes on, as it would by itself."""
    rest = memoryview(data)
    with suppress(OSError):
        while rest:
            rest = rest[os.write(target, rest) :]


def _read_verdict(raw: bytes | None) -> Verdict | None:
    try:
        found = json.loads(raw or b"null")
    except ValueError:
        return None
    return Verdict(code=found["code"], cause=found["cause"], final=found["final"]) if isinstance(found, dict) else None


def oom_kills(events: Path = CGROUP_EVENTS) -> int:
    """How many processes of this container the kernel has killed for memory; 0 where it does not say."""
    try:
        lines = events.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def shared_memory(folder: str = contract.SHARED_MEMORY_DIRECTORY) -> str:
    """How large /dev/shm is and how much of it is free."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return "not there"
    mib = found.f_frsize / 2**20
    return f"{found.f_blocks * mib:.0f} MiB, {found.f_bavail * mib:.0f} MiB free"


def command(words: Sequence[str]) -> list[str]:
    """The engine's command: this interpreter, and the module that imports vLLM."""
    return [sys.executable, "-m", "inference_server.serve.worker", *words]
