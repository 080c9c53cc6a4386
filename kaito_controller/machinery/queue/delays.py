"""The items that wait for a deadline: one heap and one timer, however many there are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, Generic, TypeVar

from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.queue.waiting import Entry

Item = TypeVar("Item", bound=Hashable)

SAFETY_WAKE_S: Final = 10.0
"""The longest sleep while anything waits: a timer that was set by a wrong idea of the time costs no more (WQ6)."""
_SLACK: Final = 64


class Delays(Generic[Item]):
    """Entries by deadline, those of one deadline in the order in which they were put.

    An entry that got an earlier deadline, or none, leaves its old place in the heap, which is passed over when its time
    comes; such places are swept out when there are more of them than of the others.

    Args:
        ripe: called with each entry whose deadline has come; its deadline is None by then.
    """

    def __init__(self, clock: Clock, ripe: Callable[[Entry[Item]], None]) -> None:
        self._clock = clock
        self._ripe = ripe
        self._heap: list[tuple[float, int, Entry[Item]]] = []
        self._order = count()
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at = 0.0

    def __len__(self) -> int:
        return self._size

    def put(self, entry: Entry[Item], deadline: float) -> None:
        """Have the entry ripen at that instant instead of any other."""
        if entry.deadline is None:
            self._size += 1
        entry.deadline = deadline
        heappush(self._heap, (deadline, next(self._order), entry))
        if len(self._heap) > 2 * self._size + _SLACK:
            self._heap = [place for place in self._heap if place[2].deadline == place[0]]
            heapify(self._heap)
        if self._timer is None or deadline < self._wake_at:
            self._set_timer(self._clock.monotonic())

    def withdraw(self, entry: Entry[Item]) -> None:
        """Have the entry not ripen at all."""
        entry.deadline = None
        self._size -= 1

    def clear(self) -> None:
        """Withdraw every entry."""
        for _, _, entry in self._heap:
            entry.deadline = None
        self._heap.clear()
        self._size = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, now: float) -> None:
        """Wake at the next deadline; none is set when nothing waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        heap = self._heap
        while heap and heap[0][2].deadline != heap[0][0]:
            heappop(heap)
        if heap:
            seconds = min(max(heap[0][0] - now, 0.0), SAFETY_WAKE_S)
            self._wake_at = min(heap[0][0], now + seconds)
            self._timer = self._clock.call_later(seconds, self._wake)

    def _wake(self) -> None:
        self._timer = None
        # A timer may ring a rounding error early: the deadline that it was set for counts as reached.
        now = max(self._clock.monotonic(), self._wake_at)
        heap = self._heap
        while heap and heap[0][0] <= now:
            deadline, _, entry = heappop(heap)
            if entry.deadline == deadline:
                self.withdraw(entry)
                self._ripe(entry)
        self._set_timer(now)
