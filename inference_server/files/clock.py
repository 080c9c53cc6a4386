"""Time, handed in so that tests do not wait."""

from __future__ import annotations

import random
import time
from typing import Protocol


class Clock(Protocol):
    """What waits, and knows how long something took."""

    def monotonic(self) -> float:
        """Seconds since some moment."""

    def time(self) -> float:
        """Seconds since 1970, which dates of other machines are compared with."""

    def sleep(self, seconds: float, /) -> None:
        """Wait."""

    def random(self) -> float:
        """A number of [0, 1), so that many clients do not come back at the same moment."""


class SystemClock:
    """The machine's."""

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def time(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def sleep(self, seconds: float, /) -> None:
        """Wait."""
        time.sleep(seconds)

    def random(self) -> float:
        """A number of [0, 1)."""
        return random.random()  # noqa: S311 - spreads retries, guards nothing
