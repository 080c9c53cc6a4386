"""Doing a thing many times, a little at first: what a quota refuses is refused once, not a thousand times."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")

FIRST = 1


class SlowStartError(Exception):
    """Some calls of a batch failed, so the batches after it were not begun. The first failure is its cause.

    Attributes:
        done: how many calls succeeded.
        failed: how many failed.
        skipped: how many were never made.
    """

    def __init__(self, done: int, failed: int, skipped: int, cause: BaseException) -> None:
        super().__init__(f"{failed} of {done + failed} calls failed, {skipped} more were not made: {cause}")
        self.done = done
        self.failed = failed
        self.skipped = skipped
        self.__cause__ = cause


async def slow_start(
    items: Sequence[T],
    act: Callable[[T], Awaitable[object]],
    *,
    lowered: Callable[[T], None] | None = None,
    first: int = FIRST,
) -> int:
    """Act on every item in batches of 1, 2, 4, 8…; those of one batch at the same time (EX4).

    Args:
        items: what to act on, in order.
        act: one call.
        lowered: told of every item whose call failed or was not made, to lower an expectation.
        first: the size of the first batch.

    Returns:
        How many calls succeeded: all of them.

    Raises:
        SlowStartError: a batch had a failure; it was finished, and none after it was begun.
    """

    def lower(missed: Iterable[T]) -> None:
        for item in missed:
            if lowered is not None:
                lowered(item)

    done, size = 0, first
    while done < len(items):
        batch = items[done : done + size]
        skipped = items[done + len(batch) :]
        try:
            outcomes = await asyncio.gather(*(act(item) for item in batch), return_exceptions=True)
        except asyncio.CancelledError:
            # Of the batch nobody knows: what was sent may have been done. The others will never be seen.
            lower(skipped)
            raise
        failures = [(item, one) for item, one in zip(batch, outcomes, strict=True) if isinstance(one, BaseException)]
        if failures:
            lower([*(item for item, _ in failures), *skipped])
            raise SlowStartError(done + len(batch) - len(failures), len(failures), len(skipped), failures[0][1])
        done += len(batch)
        size *= 2
    return done
