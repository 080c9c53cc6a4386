"""The processes of the benchmark: the replay server, and the measured ones, with what they used from /proc."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from attrs import define, frozen

from benchmarks.process import cpu_s, peak_rss_bytes, rss_bytes
from kaito_controller.testing.programs import built

END_S = 20.0
Words = dict[str, Any]


class PeerError(Exception):
    """A measured process ended before it had answered; the message has its last words."""


@frozen(kw_only=True)
class Replay:
    """A replay server that runs."""

    url: str
    pod_bytes: int

    def storm(self, count: int, rate: float = 0.0) -> None:
        """Have it send so many changes, `rate` a second, or as fast as they are taken."""
        self._ask(f"/storm?count={count}&rate={rate}", b"")

    def requests(self) -> Mapping[str, int]:
        """How many requests of each kind have come."""
        found: Mapping[str, int] = self._ask("/stats", None)["requests"]
        return found

    def _ask(self, path: str, body: bytes | None) -> Any:
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data=body), timeout=30) as answer:
            return json.load(answer)


@contextmanager
def replaying(pods: int) -> Iterator[Replay]:
    """A replay server with that many pods, for as long as the context lasts."""
    command = [str(built("peers") / "replay"), "--pods", str(pods)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            said = json.loads(_line(process.stdout))
            yield Replay(url=said["url"], pod_bytes=said["pod_bytes"])
        finally:
            process.terminate()


@define
class Process:
    """A measured process that talks in lines."""

    name: str
    process: subprocess.Popen[str]
    errors: Path

    def hear(self) -> Words:
        """The next thing it says.

        Raises:
            PeerError: it has ended.
        """
        line = _line(self.process.stdout)
        if not line:
            raise PeerError(f"{self.name} ended with {self.process.wait()}: {self.errors.read_text()[-2000:]}")
        words: Words = json.loads(line)
        return words

    def ask(self, question: str) -> Words:
        """Ask, and wait for the answer."""
        if self.process.stdin is None:
            raise PeerError(f"{self.name} was started without an ear")
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return self.hear()

    def cpu_s(self) -> float:
        """Seconds of processor since its start."""
        return cpu_s(self.process.pid)

    def memory(self) -> Mapping[str, int]:
        """Resident bytes, now and at the most so far."""
        return {"rss_bytes": rss_bytes(self.process.pid), "peak_rss_bytes": peak_rss_bytes(self.process.pid)}

    def pin(self) -> None:
        """Leave it one core, the first of ours, for all its threads."""
        core = min(os.sched_getaffinity(0))
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), {core})


@contextmanager
def running(name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Iterator[Process]:
    """A measured process, told to quit at the end and ended if it does not."""
    errors = folder / f"{name}.stderr"
    with (
        errors.open("w") as said,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env={**os.environ, **environment},
        ) as process,
    ):
        try:
            yield Process(name, process, errors)
            if process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write("quit\n")
                    process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_S)
        finally:
            process.kill()


def _line(stream: IO[str] | None) -> str:
    return stream.readline() if stream is not None else ""
