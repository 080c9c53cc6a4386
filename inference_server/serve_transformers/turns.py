"""One request is answered at a time, the others wait in order, and only so many: the next is told to come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil
from typing import Final

from attrs import define, field

from inference_server.serve_transformers.metrics import Metrics

RETRY_MOST_S: Final = 60
# How much the newest answer counts in the mean of how long they take.
NEWEST_WEIGHT: Final = 0.2


@define(kw_only=True)
class BusyError(Exception):
    """As many wait as may; `retry_after_s` is about when one of them will have gone."""

    waiting: int
    retry_after_s: int


@define
class Turns:
    """Who is answered and who waits."""

    most_waiting: int
    metrics: Metrics
    waiting: int = 0
    mean_s: float = 1.0
    _turn: asyncio.Lock = field(factory=asyncio.Lock)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for the caller's turn and holds it. Raises BusyError at once where too many wait."""
        if self._turn.locked() and self.waiting >= self.most_waiting:
            self.metrics.rejected.inc()
            raise BusyError(waiting=self.waiting, retry_after_s=min(RETRY_MOST_S, max(1, ceil(self.mean_s))))
        clock = asyncio.get_running_loop().time
        self._count(1)
        try:
            await self._turn.acquire()
        finally:
            self._count(-1)
        began = clock()
        self.metrics.running.inc()
        try:
            yield
        finally:
            self._turn.release()
            self.metrics.running.dec()
            took = clock() - began
            self.metrics.seconds.observe(took)
            self.mean_s += (took - self.mean_s) * NEWEST_WEIGHT

    def _count(self, change: int) -> None:
        self.waiting += change
        self.metrics.waiting.set(self.waiting)
