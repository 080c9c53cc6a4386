"""Measured process: nanoseconds for each way through our workqueue, as `clientgo queuespeed` does for client-go's."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from random import Random

from benchmarks.machinery.conversation import log_to_stderr, say
from kaito_controller.app.loop import loop_factory
from kaito_controller.machinery.backoff import ItemBackoff
from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.queue.workqueue import WorkQueue

KEYS = tuple(f"default/pod-{number:05}" for number in range(1000))
MAX_DELAY_MS = 50
NANOSECONDS = 1e9
TENTH = 10
FAILURE_S = 0.005


async def add_get_done(count: int) -> None:
    """A thousand keys are added, then taken and given back, again and again."""
    queue: WorkQueue[str] = WorkQueue(RealClock(), name="add_get_done")
    for _ in range(count // len(KEYS)):
        for key in KEYS:
            queue.add(key)
        for _ in KEYS:
            queue.done(await queue.get())
    queue.shut_down()


async def add_again(count: int) -> None:
    """A key is added that waits already."""
    queue: WorkQueue[str] = WorkQueue(RealClock(), name="add_again")
    for _ in range(count // len(KEYS)):
        for key in KEYS:
            queue.add(key)
    queue.shut_down()


async def add_after(count: int) -> None:
    """Different keys are added after at most 50 ms each, and all taken."""
    queue: WorkQueue[str] = WorkQueue(RealClock(), name="add_after")
    rng = Random(1)  # noqa: S311 - draws delays
    for number in range(count):
        queue.add_after(str(number), (1 + rng.randrange(MAX_DELAY_MS)) / 1000)
    for _ in range(count):
        queue.done(await queue.get())
    queue.shut_down()


async def add_rate_limited(count: int) -> None:
    """A thousand keys fail once, come back after 5 ms, and are forgotten."""
    backoff: ItemBackoff[str] = ItemBackoff(base_s=FAILURE_S, cap_s=FAILURE_S)
    queue: WorkQueue[str] = WorkQueue(RealClock(), name="add_rate_limited", backoff=backoff)
    for _ in range(count // len(KEYS)):
        for key in KEYS:
            queue.add_rate_limited(key)
        for _ in KEYS:
            key = await queue.get()
            queue.forget(key)
            queue.done(key)
    queue.shut_down()


async def measure(count: int) -> dict[str, float]:
    """Nanoseconds an operation, by the names that the Go program uses."""
    tenth = count // TENTH
    return {
        "add_get_done_ns": await _per_operation(count, add_get_done),
        "add_again_ns": await _per_operation(count, add_again),
        "add_after_ns": await _per_operation(tenth, add_after),
        "add_rate_limited_ns": await _per_operation(tenth, add_rate_limited),
    }


async def _per_operation(count: int, work: Callable[[int], Awaitable[None]]) -> float:
    started = time.perf_counter()
    await work(count)
    return (time.perf_counter() - started) * NANOSECONDS / count


def main() -> None:
    """Print the figures for the number of operations in the arguments."""
    log_to_stderr()
    with asyncio.Runner(loop_factory=loop_factory(os.environ)) as runner:
        say(**runner.run(measure(int(sys.argv[1]))))


if __name__ == "__main__":
    main()
