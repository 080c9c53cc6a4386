"""The one place that tunes Python's garbage collector."""

from __future__ import annotations

import gc
from typing import Final

YOUNG: Final = 10_000
"""New containers between two collections of the youngest generation; CPython's own 700 is for small heaps."""


def settle() -> None:
    """Leave what lives now out of all later collections, and collect less often.

    To be called once, when the caches hold their first lists: JSON trees have no cycles and are freed by counting
    alone, yet each full collection walks them all while nothing else can run.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
