"""Virtual time: an event loop whose clock jumps to the next timer as soon as nothing else can happen.

A test of hours runs in milliseconds and may assert exact instants. Only code without sockets, threads and processes
runs in it; waiting for one of those would never end, and is reported as a deadlock.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """A `Clock` that goes only when it is told to, by `advance` or by the loop that it drives."""

    def __init__(self, start: datetime = EPOCH) -> None:
        self._start = start
        self._elapsed_s = 0.0

    def now(self) -> datetime:
        """The wall clock in UTC."""
        return self._start + timedelta(seconds=self._elapsed_s)

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._elapsed_s

    async def sleep(self, seconds: float) -> None:
        """Let that much virtual time pass."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call back once that much virtual time has passed."""
        return asyncio.get_running_loop().call_later(seconds, callback)

    def advance(self, seconds: float) -> None:
        """Put the clock forward, for code that runs in no loop."""
        self._elapsed_s += seconds

    def advance_to(self, instant: float) -> None:
        """Put the clock forward to an instant of `monotonic`, exactly; never back."""
        self._elapsed_s = max(self._elapsed_s, instant)


class DeadlockError(RuntimeError):
    """Every task waits for something that nothing will bring about."""


class _JumpingSelector(selectors.DefaultSelector):
    """Where a loop would sleep until its next timer, puts the clock forward instead."""

    clock: VirtualClock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            raise DeadlockError("virtual time: all tasks wait, and no timer is set")
        self.clock.advance(timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in the time of a virtual clock."""

    def __init__(self, clock: VirtualClock) -> None:
        selector = _JumpingSelector()
        selector.clock = clock
        self._virtual_clock = clock
        super().__init__(selector)

    def time(self) -> float:
        """The loop's clock, which its timers go by."""
        return self._virtual_clock.monotonic()


def run(scenario: Callable[[VirtualClock], Coroutine[Any, Any, T]]) -> T:
    """Run a scenario in virtual time and return its result; a task that it leaves behind fails it."""
    clock = VirtualClock()

    async def main() -> T:
        result = await scenario(clock)
        left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, f"tasks left behind: {left}"
        return result

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(main())


def virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make an `async def test_x(clock, ...)` run in virtual time; its other parameters stay fixtures of pytest."""

    @functools.wraps(test)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        run(lambda clock: test(clock, *args, **kwargs))

    signature = inspect.signature(test)
    wrapper.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=list(signature.parameters.values())[1:]
    )
    return wrapper


async def settle(turns: int = 20) -> None:
    """Let everything that is ready happen, without letting time pass."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def at(clock: VirtualClock, instant: float, action: Callable[[], Awaitable[None] | None]) -> None:
    """Do something at an instant of the virtual clock."""
    await clock.sleep(instant - clock.monotonic())
    outcome = action()
    if inspect.isawaitable(outcome):
        await outcome
