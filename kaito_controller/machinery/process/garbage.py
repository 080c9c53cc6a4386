"""The one place that tunes Python's garbage collector.

JSON trees have no cycles: counting references frees them, and the collector walks them for nothing, while nothing else
can run. Measured with CPython 3.11 on 10,000 pods of 9.6 KB, read by an informer with two indexes over
loopback (`hack/bench machinery`), in seconds of processor, and the 99th percentile of the event loop's lag:

=============================================  ==========  ==========  ==============
until the caches hold their first lists         by stream   by lists    lag by stream
=============================================  ==========  ==========  ==============
youngest generation at 10,000, others as ever       2.6 s       5.2 s          320 ms
youngest at 10,000, others left alone               1.7 s       2.5 s           27 ms
=============================================  ==========  ==========  ==============
"""

from __future__ import annotations

import gc
from typing import Final

YOUNG: Final = 10_000
"""New containers between two collections of the youngest generation; CPython's own 700 is for small heaps."""


MIDDLE: Final = 10
"""Young collections between two of the middle generation, and middle ones between two full ones: CPython's own."""
RARELY: Final = 1000
"""The same, while the first lists are read. They make containers by the million and give none back, so a collection of
the older ones costs all that has been read so far and finds nothing; after ten million containers one is due anyway."""


def prepare() -> None:
    """Collect little until `settle`; to be called before the first lists are read."""
    gc.set_threshold(YOUNG, RARELY, RARELY)


def settle() -> None:
    """Leave what lives now out of all later collections; to be called once, when the caches hold their first lists."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, MIDDLE)
