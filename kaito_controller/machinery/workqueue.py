"""The queue between watches and workers: an item waits once however often it is added, and one worker has it at a time.

Invariants (client-go's `util/workqueue`, held by test/machinery/test_workqueue.py):

- An item that is queued is not queued again (WQ1).
- An item that a worker holds is not handed out until `done`; added meanwhile, it is queued then, once (WQ2).
- Distinct items come out in the order in which they were added (WQ3).
- A delayed item has one deadline, the earlier of those asked for (WQ6).

All methods but `get` and `drained` are plain calls: no item is lost between two of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from attrs import define

from kaito_controller.machinery.backoff import ItemBackoff
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.metrics import Metrics, QueueMetrics

Item = TypeVar("Item", bound=Hashable)


class QueueShutDown(Exception):  # noqa: N818 - the end of a queue is not a failure
    """The queue was shut down and is empty."""


@define
class _Delayed:
    deadline: float
    timer: asyncio.TimerHandle


class WorkQueue(Generic[Item]):
    """A rate-limited, deduplicating FIFO queue for one event loop."""

    def __init__(
        self, clock: Clock, *, name: str, backoff: ItemBackoff[Item] | None = None, metrics: Metrics | None = None
    ) -> None:
        self.clock = clock
        self.backoff: ItemBackoff[Item] = backoff or ItemBackoff()
        self.metrics = QueueMetrics(metrics or Metrics(), name)
        self._order: deque[Item] = deque()
        self._dirty: dict[Item, float] = {}
        self._processing: dict[Item, float] = {}
        self._delayed: dict[Item, _Delayed] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._idle = asyncio.Event()
        self._shut_down = False
        # Asked for at every scrape: a timer that keeps them fresh would cost an idle process its sleep.
        self.metrics.depth.set_function(lambda: float(len(self._order)))
        self.metrics.unfinished.set_function(lambda: sum(self._ages()))
        self.metrics.longest.set_function(lambda: max(self._ages(), default=0.0))

    def __len__(self) -> int:
        """How many items wait and could be handed out."""
        return len(self._order)

    @property
    def delayed(self) -> int:
        """How many items wait for their deadline."""
        return len(self._delayed)

    @property
    def processing(self) -> int:
        """How many items workers hold."""
        return len(self._processing)

    def add(self, item: Item) -> None:
        """Queue an item; one that waits already keeps its place. Ignored after shutdown (WQ4)."""
        if self._shut_down or item in self._dirty:
            return
        self._dirty[item] = self.clock.monotonic()
        self.metrics.adds.inc()
        if item not in self._processing:
            self._push(item)

    def add_after(self, item: Item, seconds: float) -> None:
        """Queue an item once that many seconds have passed, or now when there are none to wait (WQ6)."""
        if self._shut_down:
            return
        if seconds <= 0:
            self.add(item)
            return
        deadline = self.clock.monotonic() + seconds
        waiting = self._delayed.get(item)
        if waiting is not None:
            if waiting.deadline <= deadline:
                return
            waiting.timer.cancel()
        timer = self.clock.call_later(seconds, lambda: self._ripen(item))
        self._delayed[item] = _Delayed(deadline, timer)

    def add_rate_limited(self, item: Item) -> None:
        """Count a failure of the item and queue it after its backoff (RL1)."""
        self.metrics.retries.inc()
        self.add_after(item, self.backoff.next_s(item))

    def forget(self, item: Item) -> None:
        """Stop counting the item's failures; `done` is owed all the same (RL5)."""
        self.backoff.forget(item)

    def failures(self, item: Item) -> int:
        """How often the item failed in a row."""
        return self.backoff.failures(item)

    async def get(self) -> Item:
        """Wait for an item and hold it until `done`. Raises QueueShutDown when there will be none any more."""
        while not self._order:
            if self._shut_down:
                raise QueueShutDown
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                # A wake-up that a cancelled worker swallowed belongs to the next one.
                if waiter.done() and not waiter.cancelled():
                    self._wake()
                raise
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        item = self._order.popleft()
        now = self.clock.monotonic()
        self.metrics.queue_seconds.observe(now - self._dirty.pop(item))
        self._processing[item] = now
        self._idle.clear()
        return item

    def done(self, item: Item) -> None:
        """Give an item back; it is queued again if it was added while it was held."""
        started = self._processing.pop(item, None)
        if started is None:
            return
        self.metrics.work_seconds.observe(self.clock.monotonic() - started)
        if item in self._dirty:
            self._push(item)
        if not self._processing and not self._order:
            self._idle.set()

    def shut_down(self) -> None:
        """Take no more items and drop the delayed ones; what is queued is still handed out (WQ4)."""
        self._shut_down = True
        for delayed in self._delayed.values():
            delayed.timer.cancel()
        self._delayed.clear()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        if not self._processing and not self._order:
            self._idle.set()

    async def drained(self) -> None:
        """After `shut_down`: return when nothing is queued and no worker holds anything (WQ5)."""
        await self._idle.wait()

    def _ages(self) -> list[float]:
        """How long each worker has held its item, in seconds."""
        now = self.clock.monotonic()
        return [now - started for started in self._processing.values()]

    def _ripen(self, item: Item) -> None:
        del self._delayed[item]
        self.add(item)

    def _push(self, item: Item) -> None:
        self._order.append(item)
        self._idle.clear()
        self._wake()

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
