"""The command: `python -m kaito_controller.testing.simulation --seeds 1000`."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from kaito_controller.testing.simulation.playing import WORLDS, Outcome, play, silence

CHUNK = 50
"""Seeds that a worker plays between two reports and two collections of garbage."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Play seeds; the exit status is 1 when an invariant was broken in any."""
    options = _parser().parse_args(arguments)
    if options.seed is not None:
        silence()
        outcome = play(options.seed, options.world, whole_story=options.story)
        _say("\n".join(outcome.story) if options.story and not outcome.failure else "")
        _say(outcome.report() if outcome.failure else f"seed {outcome.seed}, world {outcome.world}: well")
        _say(f"{outcome.virtual_s:.0f} s of virtual time, {outcome.faults} faults, trace {outcome.digest}")
        return 1 if outcome.failure else 0
    return _play_many(options)


def _play_many(options: argparse.Namespace) -> int:
    started = time.monotonic()
    seeds = range(options.first, options.first + options.seeds)
    counts: Counter[str] = Counter()
    virtual_s, faults, failures = 0.0, 0, 0
    for outcome in _outcomes(seeds, options.world, options.jobs):
        counts[outcome.world] += 1
        virtual_s += outcome.virtual_s
        faults += outcome.faults
        if outcome.failure:
            failures += 1
            if failures <= options.keep:
                _say(outcome.report() + "\n")
            else:
                _say(f"seed {outcome.seed}, world {outcome.world}: {outcome.failure[:200]}")
        if options.progress and sum(counts.values()) % options.progress == 0:
            _say(f"{sum(counts.values())} seeds, {failures} failed, {time.monotonic() - started:.0f} s")
    elapsed = time.monotonic() - started
    worlds = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    _say(f"{options.seeds} seeds from {options.first} ({worlds}) in {elapsed:.1f} s: {failures} failed")
    _say(
        f"{elapsed / max(1, options.seeds) * 1000 * options.jobs:.1f} ms a seed and process, "
        f"{virtual_s / 86400:.1f} days of virtual time, {faults} faults"
    )
    return 1 if failures else 0


def _outcomes(seeds: range, world: str, jobs: int) -> Iterator[Outcome]:
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    if jobs == 1:
        silence()
        for chunk in chunks:
            yield from _chunk(chunk, world)
        return
    with ProcessPoolExecutor(jobs, initializer=silence) as pool:
        for outcomes in pool.map(_chunk, chunks, [world] * len(chunks)):
            yield from outcomes


def _chunk(seeds: range, world: str) -> list[Outcome]:
    outcomes = [play(seed, world) for seed in seeds]
    gc.collect()
    return outcomes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hack/test sim", description="Play simulated worlds of the controller machinery, each from a seed."
    )
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many seeds to play (1000)")
    parser.add_argument("--first", type=int, default=1, metavar="S", help="the first of them (1)")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="processes to play in (1)")
    parser.add_argument("--seed", type=int, metavar="S", help="play this one, and tell its story if it fails")
    parser.add_argument("--world", default="", choices=["", *WORLDS], help="play in this world only")
    parser.add_argument("--story", action="store_true", help="with --seed: tell everything, also if all is well")
    parser.add_argument("--keep", type=int, default=3, metavar="N", help="failures to tell in full (3)")
    parser.add_argument("--progress", type=int, default=0, metavar="N", help="say how far it is every N seeds")
    return parser


def _say(text: str) -> None:
    if text:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
