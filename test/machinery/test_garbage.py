"""Python's garbage collector is tuned for large caches, in one place."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc
from kaito_controller.machinery.process import garbage

garbage.prepare()
assert gc.get_threshold() == (10_000, 1000, 1000), gc.get_threshold()
kept = [{"metadata": {"name": str(number)}} for number in range(1000)]


class Knot:
    def __init__(self):
        self.self = self


def tie():
    before = Knot()
    return id(before)


tie()
garbage.settle()
assert gc.get_freeze_count() > 2000
assert gc.get_threshold() == (10_000, 10, 10), gc.get_threshold()
assert not any(isinstance(each, Knot) for each in gc.get_objects())
assert gc.collect() == 0
tie()
assert gc.collect() > 0
"""


def test_what_the_caches_hold_is_never_walked_again() -> None:
    """Garbage of the start is collected first, later garbage as ever; the objects in between are left out."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
