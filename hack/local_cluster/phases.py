"""The phases of a long command: what is being done, for how long, and what it waits for, on a terminal or in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from attrs import define, field, frozen

REPORT_INTERVAL_S = 15.0
"""How often a log that is no terminal is told that a phase still runs."""


@frozen(kw_only=True)
class Phase:
    """One finished phase."""

    name: str
    seconds: float


@define(kw_only=True)
class Phases:
    """Runs phases one after the other, shows each while it runs, and remembers how long each took."""

    stream: TextIO = field(factory=lambda: sys.stderr)
    finished: list[Phase] = field(factory=list)
    _waiting_for: str = ""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the body of the ``with`` statement as the phase ``name``; one that fails is shown, not remembered."""
        started = time.monotonic()
        stop = threading.Event()
        self._waiting_for = ""
        ticker = threading.Thread(target=self._tick, args=(name, started, stop), daemon=True)
        ticker.start()
        try:
            yield
        except BaseException:
            self._settle(ticker, stop)
            self._line(f"failed {name:<14} {time.monotonic() - started:7.1f} s")
            raise
        self._settle(ticker, stop)
        phase = Phase(name=name, seconds=round(time.monotonic() - started, 2))
        self.finished.append(phase)
        self._line(f"  done {name:<14} {phase.seconds:7.1f} s")

    def waits_for(self, what: str) -> None:
        """Say what the current phase waits for; a log that is no terminal gets a line whenever that changes."""
        if what != self._waiting_for and not self.stream.isatty():
            self._line(f"       {what}")
        self._waiting_for = what

    def _tick(self, name: str, started: float, stop: threading.Event) -> None:
        terminal = self.stream.isatty()
        while not stop.wait(0.2 if terminal else REPORT_INTERVAL_S):
            line = f"       {name:<14} {time.monotonic() - started:7.1f} s  {self._waiting_for}"
            if terminal:
                self.stream.write(f"\r\x1b[K{line[:160]}")
                self.stream.flush()
            else:
                self._line(line)

    def _settle(self, ticker: threading.Thread, stop: threading.Event) -> None:
        stop.set()
        ticker.join()
        if self.stream.isatty():
            self.stream.write("\r\x1b[K")

    def _line(self, text: str) -> None:
        self.stream.write(text + "\n")
        self.stream.flush()
