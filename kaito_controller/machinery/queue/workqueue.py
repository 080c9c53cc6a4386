"""The queue between watches and workers: an item waits once however often it is added, and one worker has it at a time.

Invariants (client-go's `util/workqueue` and controller-runtime's priority queue):

- An item has one entry, with the highest priority and the earliest deadline that were asked for (WQ1, WQ6, PQ2).
- An item that a worker holds is not handed out until `done`; added meanwhile, it is queued then, once (WQ2, PQ3).
- Higher priorities come first, and items of one priority in the order in which they became ready (WQ3, PQ1). What waits
  long gets turns of its own: `kaito_controller.machinery.queue.waiting` says which.

All methods but `get`, `drained` and `shut_down_with_drain` are plain calls: no item is lost between two of them. Each
takes constant time, or logarithmic in the number of delayed items and of different priorities.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from typing import Generic, TypeVar

from kaito_controller.machinery.backoff import ItemBackoff
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.metrics import Metrics, QueueMetrics
from kaito_controller.machinery.queue.delays import Delays
from kaito_controller.machinery.queue.ratelimit import RateLimiter
from kaito_controller.machinery.queue.waiting import Entry, Waiting

Item = TypeVar("Item", bound=Hashable)


class QueueShutDown(Exception):  # noqa: N818 - the end of a queue is not a failure
    """The queue was shut down, and has nothing more to hand out."""


class WorkQueue(Generic[Item]):
    """A rate-limited, deduplicating priority queue for one event loop.

    Args:
        name: the label of its metrics.
        backoff: how long an item waits after a failure; per item 5 ms, 10 ms ... 1000 s unless given (RL1, RL4).
    """

    def __init__(
        self, clock: Clock, *, name: str, backoff: RateLimiter[Item] | None = None, metrics: Metrics | None = None
    ) -> None:
        self.clock = clock
        self.backoff: RateLimiter[Item] = backoff or ItemBackoff()
        self.metrics = QueueMetrics(metrics or Metrics(), name, self._ages)
        self._entries: dict[Item, Entry[Item]] = {}
        self._held: dict[Item, Entry[Item]] = {}
        self._waiting: Waiting[Item] = Waiting()
        self._delays: Delays[Item] = Delays(clock, self._ready)
        self._getters: deque[asyncio.Future[None]] = deque()
        self._drainers: list[asyncio.Future[None]] = []
        self._is_shut_down = False
        self._drains = True

    def __len__(self) -> int:
        """How many items wait and could be handed out."""
        return len(self._waiting)

    @property
    def delayed(self) -> int:
        """How many items wait for their deadline."""
        return len(self._delays)

    @property
    def processing(self) -> int:
        """How many items workers hold."""
        return len(self._held)

    @property
    def is_shut_down(self) -> bool:
        """Whether it takes no more items."""
        return self._is_shut_down

    def add(self, item: Item, *, priority: int = 0) -> None:
        """Queue an item now. One that waits keeps its place, unless this priority is higher. Ignored after shutdown."""
        if self._is_shut_down:
            return
        entry = self._entries.get(item)
        if entry is None:
            entry = self._entries[item] = Entry(item, priority)
            self._ready(entry)
            return
        if priority > entry.priority:
            self._rise(entry, priority)
        if entry.deadline is not None:
            self._delays.withdraw(entry)
            self._ready(entry)

    def add_after(self, item: Item, seconds: float, *, priority: int | None = None) -> None:
        """Queue an item once that many seconds have passed, or now when there are none to wait (WQ6).

        Unless told otherwise it keeps the priority with which a worker holds it, which is 0 when none does (PQ6).
        """
        if self._is_shut_down:
            return
        if priority is None:
            priority = self.priority(item)
        if seconds <= 0:
            self.add(item, priority=priority)
            return
        self.metrics.retries += 1
        deadline = self.clock.monotonic() + seconds
        entry = self._entries.get(item)
        if entry is None:
            entry = self._entries[item] = Entry(item, priority)
            self._delays.put(entry, deadline)
            return
        if priority > entry.priority:
            self._rise(entry, priority)
        if entry.deadline is not None and deadline < entry.deadline:
            self._delays.put(entry, deadline)

    def add_rate_limited(self, item: Item, *, at_most_s: float | None = None, priority: int | None = None) -> None:
        """Count a failure of the item and queue it after its backoff, or after `at_most_s` if that is less (PQ5)."""
        seconds = self.backoff.next_s(item)
        if at_most_s is not None:
            seconds = min(seconds, at_most_s)
        self.add_after(item, seconds, priority=priority)

    def add_all(
        self, items: Iterable[Item], *, after_s: float | None = None, rate_limited: bool = False, priority: int = 0
    ) -> None:
        """Queue several items in their order: now, after a time, or each after its own backoff, the smaller of both."""
        for item in items:
            if rate_limited:
                self.add_rate_limited(item, at_most_s=after_s, priority=priority)
            else:
                self.add_after(item, after_s or 0.0, priority=priority)

    def forget(self, item: Item) -> None:
        """Stop counting the item's failures; `done` is owed all the same (RL5)."""
        self.backoff.forget(item)

    def failures(self, item: Item) -> int:
        """How often the item failed in a row."""
        return self.backoff.failures(item)

    def priority(self, item: Item) -> int:
        """The priority with which a worker holds the item; 0 when none does."""
        held = self._held.get(item)
        return 0 if held is None else held.priority

    async def get(self) -> Item:
        """Wait for an item and hold it until `done`. Raises QueueShutDown when there will be none any more."""
        while not self._waiting:
            if self._is_shut_down:
                raise QueueShutDown
            await self._turn()
        now = self.clock.monotonic()
        entry = self._waiting.take(now)
        item = entry.item
        del self._entries[item]
        entry.held_since = now
        self._held[item] = entry
        self.metrics.leaves(entry.priority, now - entry.added_at)
        return item

    def done(self, item: Item) -> None:
        """Give an item back; it is queued again if it was added while it was held."""
        held = self._held.pop(item, None)
        if held is None:
            return
        now = self.clock.monotonic()
        self.metrics.work_seconds.observe(now - held.held_since)
        # A dead place may still name the entry; the item itself can go.
        del held.item
        entry = self._entries.get(item)
        if entry is not None and entry.deadline is None:
            self._place(entry, now)
        elif self._drainers:
            self._release_drainers()

    def shut_down(self, *, drain: bool = True) -> None:
        """Take no more items, drop the delayed ones, and end every wait for the queue to drain.

        Args:
            drain: whether what waits is still handed out before `get` says that it is over (WQ4), or not (PQ7).
        """
        if self._is_shut_down:
            self._release_drainers(now=True)
        self._is_shut_down = True
        self._drains = self._drains and drain
        if self._drains:
            self._entries = {item: entry for item, entry in self._entries.items() if entry.deadline is None}
        else:
            self._entries.clear()
            self._waiting.clear()
        self._delays.clear()
        for getter in self._getters:
            if not getter.done():
                getter.set_result(None)
        self._release_drainers()

    async def shut_down_with_drain(self) -> None:
        """Shut down; return when workers have finished everything, or when `shut_down` is called meanwhile (WQ5)."""
        if not self._is_shut_down:
            self.shut_down()
        await self.drained()

    async def drained(self) -> None:
        """After `shut_down`: return when nothing waits and no worker holds anything, or at another `shut_down`."""
        if self._is_shut_down and self._is_idle():
            return
        drainer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._drainers.append(drainer)
        await drainer

    def _is_idle(self) -> bool:
        return not self._held and not self._waiting

    def _release_drainers(self, *, now: bool = False) -> None:
        if not now and not (self._is_shut_down and self._is_idle()):
            return
        for drainer in self._drainers:
            if not drainer.done():
                drainer.set_result(None)
        self._drainers.clear()

    def _ages(self) -> Iterator[float]:
        """How long each worker has held its item, in seconds."""
        now = self.clock.monotonic()
        return (now - entry.held_since for entry in self._held.values())

    def _ready(self, entry: Entry[Item]) -> None:
        """The entry waits for a worker from now on; for the one that holds its item, if one does."""
        entry.added_at = now = self.clock.monotonic()
        self.metrics.waits(entry.priority)
        if entry.item not in self._held:
            self._place(entry, now)

    def _rise(self, entry: Entry[Item], priority: int) -> None:
        if entry.deadline is None:
            self.metrics.rises(entry.priority, priority)
        if entry.is_placed:
            self._waiting.rise(entry, priority)
        else:
            entry.priority = priority

    def _place(self, entry: Entry[Item], now: float) -> None:
        self._waiting.place(entry, now)
        self._wake()

    async def _turn(self) -> None:
        """Wait until an item may be there, or the end."""
        getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._getters.append(getter)
        try:
            await getter
        except asyncio.CancelledError:
            # A wake-up that a cancelled worker swallowed belongs to the next one.
            if getter.done() and not getter.cancelled():
                self._wake()
            elif getter in self._getters:
                self._getters.remove(getter)
            raise

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return
