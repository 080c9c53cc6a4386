"""Every invariant of the simulated worlds, on seeds that once failed and on some that are always the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaito_controller.testing.simulation.playing import WORLDS, play, quiet, world_of

FAILED = [line.split(maxsplit=2) for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines()]
FIRST, SEEDS = 1_000_000, 120


@pytest.mark.parametrize(
    ("seed", "world"), [(int(seed), world) for seed, world, _ in (line for line in FAILED if line[0] != "#")]
)
def test_a_seed_that_failed_once_is_played_well(seed: int, world: str) -> None:
    """What was found and mended stays mended."""
    with quiet():
        outcome = play(seed, world)
    assert not outcome.failure, outcome.report()


@pytest.mark.scenario("SI13", "LE12")
@pytest.mark.parametrize("world", WORLDS)
def test_no_invariant_breaks(world: str) -> None:
    """Whatever goes wrong meanwhile: caches equal the server, nobody holds a key twice, one leads, nothing leaks."""
    with quiet():
        outcomes = [play(seed, world) for seed in range(FIRST, FIRST + SEEDS)]
    failed = [outcome.report() for outcome in outcomes if outcome.failure]
    assert not failed, "\n\n".join(failed)
    assert sum(outcome.virtual_s for outcome in outcomes) > SEEDS


@pytest.mark.parametrize("world", WORLDS)
def test_a_seed_tells_the_same_story_every_time(world: str) -> None:
    """Twice in one process, with other seeds in between: not a single entry of the trace differs."""
    with quiet():
        first = play(FIRST, world)
        play(FIRST + 1, world)
        assert play(FIRST, world).digest == first.digest


def test_neither_hashes_nor_addresses_play_a_part() -> None:
    """Processes with different string hashes agree on every trace."""
    program = (
        "from kaito_controller.testing.simulation.playing import WORLDS, play, silence\n"
        "silence()\n"
        f"print([play(seed, world).digest for world in WORLDS for seed in range({FIRST}, {FIRST} + 5)])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hashes in ("1", "2")
    }
    assert len(told) == 1


def test_a_seed_draws_its_world() -> None:
    """Every world is drawn, and the same seed draws the same one."""
    drawn = [world_of(seed) for seed in range(200)]
    assert set(drawn) == set(WORLDS)
    assert drawn == [world_of(seed) for seed in range(200)]


@pytest.mark.parametrize("arguments", [["--seeds", "60", "--jobs", "2"], ["--seed", "7", "--story"]])
def test_the_command_plays_and_tells_how_it_went(arguments: list[str]) -> None:
    """Many seeds in several processes end in one count; one seed ends in its story and the trace's fingerprint."""
    done = subprocess.run(
        [sys.executable, "-m", "kaito_controller.testing.simulation", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    if "--seed" in arguments:
        assert play(7).digest in done.stdout
        assert "last actions" in done.stdout
    else:
        assert "60 seeds from 1" in done.stdout
        assert ": 0 failed" in done.stdout
