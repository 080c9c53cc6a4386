"""Whether the main event loop still turns, as other threads can tell."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from attrs import define, field

from kaito_controller.machinery.clock import Clock

BEAT_S = 1.0
STALLED_S = 5.0
"""A leader whose main loop has not turned for so long does not renew its lease."""
WEDGED_BEATS = 60
"""Beats missed in a row after which the process is ended, so that a fresh one takes its place."""


def die(reason: str) -> None:
    """End the process at once with code 1: whatever it would still do, it may not or cannot do any more."""
    os.write(2, f"fatal: {reason}\n".encode())
    logging.shutdown()
    os._exit(1)


@define
class Heartbeat:
    """A count that the main loop raises every second while it turns."""

    clock: Clock
    beats: int = field(init=False, default=0)
    _at: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._at = self.clock.monotonic()

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            self.beats += 1
            self._at = self.clock.monotonic()
            await self.clock.sleep(BEAT_S)

    def is_alive(self) -> bool:
        """Whether the loop turned within the last five seconds; any thread may ask."""
        return self.clock.monotonic() - self._at < STALLED_S


@define
class MissedBeats:
    """Counts how many looks in a row found no new beat.

    Looks are counted, not seconds: a process that was stopped and continued missed no look, and gets its time.
    """

    _last: int = -1
    _missed: int = 0

    def look(self, beats: int) -> int:
        """Take a look at the count and say how many looks in a row found it unchanged."""
        self._missed = self._missed + 1 if beats == self._last else 0
        self._last = beats
        return self._missed


class Watchdog:
    """A thread that ends the process when its main loop has been stuck for a minute."""

    def __init__(self, heartbeat: Heartbeat, on_wedged: Callable[[str], None] = die) -> None:
        self._heartbeat = heartbeat
        self._on_wedged = on_wedged
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, and wait until the thread has ended."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        missed = MissedBeats()
        while not self._stop.wait(BEAT_S):
            if missed.look(self._heartbeat.beats) >= WEDGED_BEATS:
                self._on_wedged(f"the main loop has not turned for {WEDGED_BEATS * BEAT_S:g} s")
                return
