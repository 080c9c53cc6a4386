"""The items that wait in a queue and may be handed out: by priority, and in turn, so that none waits for ever.

The order, which a test may compute (no randomness, the instants are those of the queue's clock):

1. The highest priority goes first; within one priority the item that became ready first.
2. An item that has waited `AGEING_S` is overdue. While the longest-waiting item is overdue and others are handed out
   over its head, every `AGEING_TURN`-th turn is its own, whatever its priority.

So fresh events go before the objects of the first list (PQ1, PQ6), a storm of them leaves every `AGEING_TURN`-th turn
to what has waited longest, and a long first list takes no more than that from them. An item that n others became ready
before is handed out after at most `AGEING_S` and `AGEING_TURN` * (n + 1) turns more. A priority that rose by so much a
second would end in the opposite: once a long list had aged enough, every fresh event would wait for all of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from heapq import heappop, heappush
from typing import Final, Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)

AGEING_S: Final = 10.0
AGEING_TURN: Final = 5
_SLACK: Final = 64
"""Dead places are swept out once they outnumber the live ones by this: constant work per item in the long run."""


class Entry(Generic[Item]):
    """One item on its way through a queue.

    Attributes:
        priority: the highest that was asked for.
        deadline: when it becomes ready; None once it is.
        added_at: when it became ready, or was added while a worker held it: what the wait is measured from.
        placed_at: when it got its place among those that may be handed out.
        is_placed: whether it has one now.
        held_since: when a worker took it.
    """

    __slots__ = ("added_at", "deadline", "held_since", "is_placed", "item", "placed_at", "priority")

    def __init__(self, item: Item, priority: int) -> None:
        self.item = item
        self.priority = priority
        self.deadline: float | None = None
        self.added_at = 0.0
        self.placed_at = 0.0
        self.is_placed = False
        self.held_since = 0.0


class _Line(Generic[Item]):
    """The places of one priority. A place is dead once its entry was taken, or has risen to another line."""

    __slots__ = ("is_ranked", "live", "places", "priority")

    def __init__(self, priority: int) -> None:
        self.priority = priority
        self.places: deque[Entry[Item]] = deque()
        self.live = 0
        self.is_ranked = False

    def append(self, entry: Entry[Item]) -> None:
        self.places.append(entry)
        self.live += 1
        _sweep(self.places, self.live, self._is_live)

    def head(self) -> Entry[Item] | None:
        """The first live place; dead ones before it are dropped."""
        places = self.places
        while places:
            entry = places[0]
            if entry.is_placed and entry.priority == self.priority:
                return entry
            places.popleft()
        return None

    def _is_live(self, entry: Entry[Item]) -> bool:
        return entry.is_placed and entry.priority == self.priority


class Waiting(Generic[Item]):
    """The entries that may be handed out, in the order that the module describes."""

    __slots__ = ("_by_age", "_lines", "_passed_over", "_ranks", "_size")

    def __init__(self) -> None:
        self._lines: dict[int, _Line[Item]] = {}
        self._ranks: list[int] = []
        self._by_age: deque[Entry[Item]] = deque()
        self._passed_over = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def place(self, entry: Entry[Item], now: float) -> None:
        """Give an entry the last place of its priority."""
        entry.is_placed = True
        entry.placed_at = now
        self._size += 1
        self._by_age.append(entry)
        self._append(entry)
        _sweep(self._by_age, self._size, _is_placed)

    def rise(self, entry: Entry[Item], priority: int) -> None:
        """Move a placed entry to the tail of a higher priority; how long it has waited stays."""
        self._lines[entry.priority].live -= 1
        entry.priority = priority
        self._append(entry)

    def take(self, now: float) -> Entry[Item]:
        """Remove the entry whose turn it is. There must be one."""
        by_age = self._by_age
        while not by_age[0].is_placed:
            by_age.popleft()
        oldest = by_age[0]
        entry = self._first()
        if entry is not oldest and now - oldest.placed_at >= AGEING_S:
            self._passed_over += 1
            if self._passed_over >= AGEING_TURN:
                entry = oldest
        if entry is oldest:
            self._passed_over = 0
            by_age.popleft()
        entry.is_placed = False
        self._size -= 1
        self._leave(self._lines[entry.priority])
        return entry

    def clear(self) -> None:
        """Forget every entry."""
        self._lines.clear()
        self._ranks.clear()
        self._by_age.clear()
        self._size = 0

    def _append(self, entry: Entry[Item]) -> None:
        line = self._lines.get(entry.priority)
        if line is None:
            line = self._lines[entry.priority] = _Line(entry.priority)
        if not line.is_ranked:
            line.is_ranked = True
            heappush(self._ranks, -entry.priority)
        line.append(entry)

    def _first(self) -> Entry[Item]:
        """The head of the highest line that has one; emptied lines on the way are dropped."""
        while True:
            priority = -self._ranks[0]
            head = self._lines[priority].head()
            if head is not None:
                return head
            heappop(self._ranks)
            del self._lines[priority]

    def _leave(self, line: _Line[Item]) -> None:
        line.live -= 1
        line.head()


def _sweep(places: deque[Entry[Item]], live: int, is_live: Callable[[Entry[Item]], bool]) -> None:
    if len(places) > 2 * live + _SLACK:
        kept = [entry for entry in places if is_live(entry)]
        places.clear()
        places.extend(kept)


def _is_placed(entry: Entry[Item]) -> bool:
    return entry.is_placed
