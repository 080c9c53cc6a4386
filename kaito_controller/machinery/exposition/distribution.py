"""A histogram that costs a hot path one bisection, no lock and no scan of its buckets."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate


class Distribution:
    """How often a quantity fell into each bucket, and its sum. For one thread.

    Args:
        bounds: the upper bounds of the buckets, ascending; a value on a bound belongs below it. One more bucket takes
            what is above them all.
    """

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values were counted."""
        return sum(self._counts)

    def cumulative(self) -> list[tuple[float, int]]:
        """Per bound, how many values were at most that; the last bound is infinity."""
        return list(zip((*self._bounds, float("inf")), accumulate(self._counts), strict=True))
