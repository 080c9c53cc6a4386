"""How long a second is on a machine that others use too: for limits of tests that mean an idle one."""

from __future__ import annotations

import os


def on_this_machine(seconds: float) -> float:
    """How long may take now what takes so many seconds on an idle machine: its cores serve whoever waits in turn."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
