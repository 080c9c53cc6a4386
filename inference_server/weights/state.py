"""How far the files are: written by the thread that brings them, read by whoever asks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

from attrs import define, evolve, field, frozen

from inference_server import contract

# Long enough to even out bursts, short enough to show that a transfer stands still.
RATE_WINDOW_S: Final = 15.0
# One sample for each piece of this length is kept, however often progress is told.
RATE_STEP_S: Final = 0.5


class Phase(StrEnum):
    """The three states of the report."""

    FETCHING = contract.WEIGHTS_FETCHING
    READY = contract.WEIGHTS_READY
    FAILED = contract.WEIGHTS_FAILED


@frozen(kw_only=True)
class Standing:
    """One moment. `message` says in a line what is waited for or went wrong; None is what is not known.

    `exit_code` is what the engine ends with when the phase is Failed.
    """

    phase: Phase = Phase.FETCHING
    source: str = ""
    revision: str = ""
    folder: str = ""
    bytes_done: int | None = None
    bytes_total: int | None = None
    bytes_per_second: int | None = None
    message: str = ""
    exit_code: int | None = None

    def report(self) -> dict[str, Any]:
        """The part `weights` of the agent's report; what is unknown is left out."""
        values = {
            "state": str(self.phase),
            "source": self.source,
            "revision": self.revision,
            "folder": self.folder,
            "bytesDone": self.bytes_done,
            "bytesTotal": self.bytes_total,
            "bytesPerSecond": self.bytes_per_second,
            "message": self.message,
            "exitCode": self.exit_code,
        }
        return {name: value for name, value in values.items() if value not in ("", None)}


@define
class State:
    """The present standing, and the speed over the last seconds. `monotonic` is a clock in seconds."""

    monotonic: Callable[[], float]
    _standing: Standing = field(init=False, factory=Standing)
    _samples: deque[tuple[float, int]] = field(init=False, factory=deque)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def standing(self) -> Standing:
        """Where it stands now."""
        with self._lock:
            fetching = self._standing.phase is Phase.FETCHING and self._standing.bytes_done is not None
            return evolve(self._standing, bytes_per_second=self._rate() if fetching else None)

    def change(self, **fields: Any) -> None:
        """Set fields of the standing."""
        with self._lock:
            self._standing = evolve(self._standing, **fields)

    def progress(self, bytes_done: int, bytes_total: int | None, /) -> None:
        """So many bytes are there, and of how many."""
        now = self.monotonic()
        with self._lock:
            self._standing = evolve(
                self._standing, phase=Phase.FETCHING, bytes_done=bytes_done, bytes_total=bytes_total, message=""
            )
            if self._samples and bytes_done < self._samples[-1][1]:
                # A part is sent again: what was measured before says nothing of now.
                self._samples.clear()
            if not self._samples or now - self._samples[-1][0] >= RATE_STEP_S:
                self._samples.append((now, bytes_done))

    def _rate(self) -> int | None:
        """Bytes a second since the oldest sample of the window, up to now: a transfer that hangs slows down to 0."""
        now = self.monotonic()
        while len(self._samples) > 1 and now - self._samples[1][0] >= RATE_WINDOW_S:
            self._samples.popleft()
        if not self._samples:
            return None
        began, first = self._samples[0]
        seconds = now - began
        return round(((self._standing.bytes_done or 0) - first) / seconds) if seconds >= RATE_STEP_S else None
