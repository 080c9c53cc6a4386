"""How many items wait in a queue, by priority, under a bounded number of labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

MAX_PRIORITIES: Final = 25
EXCEEDED: Final = "exceeded_cardinality_limit"
"""The label under which every priority counts that came after the first 25 (PQ8)."""


class Depths:
    """Counts by priority. The first 25 priorities keep a label of their own for good, so no count ever moves over."""

    __slots__ = ("_beyond", "_by_priority", "_overflow")

    def __init__(self) -> None:
        self._by_priority = {0: 0}
        self._beyond = False
        self._overflow = 0

    def change(self, priority: int, by: int) -> None:
        """Count items of a priority in, or out with a negative number."""
        counts = self._by_priority
        if priority in counts:
            counts[priority] += by
        elif len(counts) < MAX_PRIORITIES:
            counts[priority] = by
        else:
            self._beyond = True
            self._overflow += by

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Every label with its count; a label that was used once stays, at 0."""
        for priority, count in self._by_priority.items():
            yield str(priority), count
        if self._beyond:
            yield EXCEEDED, self._overflow
