"""Time and timers, handed in so that tests run in virtual time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the machinery asks about time. The running event loop's own timers must agree with it."""

    def now(self) -> datetime:
        """The wall clock in UTC: for timestamps that people and other programs read, never for durations."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back: for durations and deadlines."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let that many seconds pass."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call back once that many seconds have passed, unless the handle is cancelled."""
        ...


class RealClock:
    """The clock of this machine and the timers of the running event loop."""

    def now(self) -> datetime:
        """The wall clock in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC, the clock that asyncio's loops use too."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let that many seconds pass."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call back once that many seconds have passed."""
        return asyncio.get_running_loop().call_later(seconds, callback)
