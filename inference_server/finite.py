"""Numbers of others: JSON writes whole numbers of any length, and Python compares but does not convert them all."""

from __future__ import annotations

import math
from typing import TypeGuard


def is_finite(value: object) -> TypeGuard[int | float]:
    """Whether it is a number that has a place among floating-point ones: no text, no truth, no infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
