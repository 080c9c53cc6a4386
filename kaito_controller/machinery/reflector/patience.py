"""How long a reflector goes on in one way with a server that keeps failing at it."""

from __future__ import annotations

from attrs import define, field

from kaito_controller.machinery.clock import Clock

MAX_INCOMPLETE = 3
MAX_OVERDUE = 2
"""Streams in a row that lack the end of their initial events, all of them and those that were waited for in vain, after
which a server is asked for lists (WL5)."""
QUIET_S = 60.0
"""After that long without an error, errors are counted anew; client-go's reflector, too, takes a minute (RF14)."""


@define(eq=False)
class IncompleteStreams:
    """Counts streams of initial events, in a row, that did not come to their end. Once enough, enough for good."""

    _all: int = field(init=False, default=0)
    _overdue: int = field(init=False, default=0)

    @property
    def are_enough(self) -> bool:
        """Whether to ask for lists from now on."""
        return self._all >= MAX_INCOMPLETE or self._overdue >= MAX_OVERDUE

    def add(self, *, overdue: bool) -> None:
        """One more; `overdue` when it was waited for in vain, not ended by the other side."""
        self._all += 1
        self._overdue += overdue

    def forget(self) -> None:
        """One came to its end."""
        self._all = self._overdue = 0


@define(eq=False)
class RetryWindow:
    """Allows tries for some seconds after the first of a row of errors (RF14).

    Attributes:
        clock: where time comes from.
        lasts_s: seconds from the first error to the last one that is tried again, inclusive; 0 tries none again.
    """

    clock: Clock
    lasts_s: float
    _first: float | None = field(init=False, default=None)
    _last: float = field(init=False, default=0.0)

    def allows_another(self) -> bool:
        """Count an error that happened now, and say whether to try again."""
        now = self.clock.monotonic()
        if self._first is None or now - self._last >= QUIET_S:
            self._first = now
        self._last = now
        if self.lasts_s > 0 and now - self._first <= self.lasts_s:
            return True
        self._first = None
        return False

    def forget(self) -> None:
        """The next error is the first of its row."""
        self._first = None
