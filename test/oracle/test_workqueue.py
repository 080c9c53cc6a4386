"""Our workqueue against client-go's own, operation by operation."""

from __future__ import annotations

import asyncio

import pytest

from kaito_controller.testing.oracle import clientgo
from kaito_controller.testing.oracle.queue_sequences import play, sequence

SEEDS = range(40)
LENGTH = 250


@pytest.mark.scenario("WQ1", "WQ2", "WQ3", "WQ6", "RL1", "RL5")
async def test_every_step_shows_the_same_as_in_client_go() -> None:
    """What is handed out, how many wait and how often an item failed is the same after each of 10,000 random steps."""
    sequences = [sequence(seed, LENGTH) for seed in SEEDS]
    theirs = await clientgo.ask(["queue"], sequences)
    for seed, steps, results in zip(SEEDS, sequences, theirs, strict=True):
        mine = await asyncio.to_thread(play, steps)
        for at, (step, expected, found) in enumerate(zip(steps, results, mine, strict=True)):
            assert found == expected, f"seed {seed}, step {at} {step}; before it: {steps[max(0, at - 12) : at]}"


def test_a_sequence_is_drawn_from_its_seed_alone() -> None:
    """A failing seed can be played again."""
    assert sequence(3, 50) == sequence(3, 50)
    assert sequence(3, 50) != sequence(4, 50)
