"""How steeply something grows."""

from __future__ import annotations

from collections.abc import Sequence


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Of the line through the points by least squares; 0 when they are all at one place."""
    middle = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - middle[0]) ** 2 for x in xs)
    return sum((x - middle[0]) * (y - middle[1]) for x, y in zip(xs, ys, strict=True)) / spread if spread else 0.0
