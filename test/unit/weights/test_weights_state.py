"""Speeds and sizes as they are told."""

from __future__ import annotations

from typing import Any

import pytest

from inference_server.weights.state import Phase, State
from inference_server.weights.wording import progress_text, size_text


def test_the_speed_is_that_of_the_last_seconds(clock: Any):
    """A slow start is forgotten, and a transfer that hangs slows down to nothing."""
    state = State(clock.monotonic)
    done = 0
    for step in (1, *[100] * 40):
        state.progress(done, 10_000)
        clock.now += 1
        done += step
    state.progress(done, 10_000)
    assert state.standing().bytes_per_second == 100

    clock.now += 10_000
    assert state.standing().bytes_per_second == 0


def test_a_part_sent_again_gives_no_negative_speed(clock: Any):
    """What was done may fall."""
    state = State(clock.monotonic)
    for done in (0, 500, 100, 150):
        clock.now += 1
        state.progress(done, None)
    speed = state.standing().bytes_per_second

    assert speed == 50


def test_what_is_unknown_is_left_out(clock: Any):
    """No nulls and no empty words in the report."""
    state = State(clock.monotonic)
    assert state.standing().report() == {"state": "Fetching"}

    state.change(phase=Phase.READY, folder="/f")
    assert state.standing().report() == {"state": "Ready", "folder": "/f"}


@pytest.mark.parametrize(
    ("far", "told"),
    [
        ((12_300_000_000, 28_100_000_000, 220_000_000), "12.3 GB of 28.1 GB, 220.0 MB/s, about 71 s left"),
        ((5, 8, 0), "5 B of 8 B, 0 B/s"),
        ((5000, None, None), "5.0 kB"),
        ((8, 8, None), "8 B of 8 B"),
    ],
)
def test_progress_in_words(far: tuple[int, int | None, int | None], told: str):
    """As far as it is known."""
    assert progress_text(*far) == told


def test_sizes_in_words():
    """Decimal units; what no disk holds still has a form."""
    assert [size_text(10**power) for power in (0, 3, 9, 18)] == ["1 B", "1.0 kB", "1.0 GB", "1000.0 PB"]
