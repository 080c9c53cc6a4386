"""Waiting for the real world: for tests against real processes, never for code that can take a clock."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest


def eventually(claim: str, holds: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    """Wait until ``holds``; fail with ``claim`` after ``timeout_s``. Between looks it waits for the real world."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"not true after {timeout_s:.0f} s: {claim}")
        time.sleep(0.3)
