"""Virtual time: an event loop whose clock jumps to the next timer as soon as nothing else can happen.

A test of hours runs in milliseconds and may assert exact instants. Only code without sockets, threads and processes
runs in it; waiting for one of those would never end, and is reported as a deadlock.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class VirtualClock:
    """A `Clock` that goes only when it is told to, by `advance` or by the loop that it drives."""

    def __init__(self, start: datetime = EPOCH) -> None:
        self._start = start
        self._elapsed_s = 0.0
        self._step_s = 0.0

    def now(self) -> datetime:
        """The wall clock in UTC."""
        return self._start + timedelta(seconds=self._elapsed_s + self._step_s)

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

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward or, with a negative figure, back; `monotonic` does not notice."""
        self._step_s += seconds


class DeadlockError(RuntimeError):
    """Every task waits for something that nothing will bring about."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop in the time of a virtual clock, without a selector: it knows callbacks and timers only.

    Each turn runs one callback. When none is ready, the clock jumps to the next timer.

    Args:
        rng: draws which of the ready callbacks is next, so that code that leans on their order is found out; without
            one they run in the order in which they became ready, as asyncio promises.
    """

    # BaseEventLoop's own: what is ready, and a heap of timers.
    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _stopping: bool

    def __init__(self, clock: VirtualClock, rng: Random | None = None) -> None:
        super().__init__()
        self.clock = clock
        self._rng = rng

    def time(self) -> float:
        """The loop's clock, which its timers go by."""
        return self.clock.monotonic()

    def _run_once(self) -> None:
        ready, timers = self._ready, self._scheduled
        if not ready and not self._stopping:
            self._drop_cancelled()
            if not timers:
                raise DeadlockError("virtual time: all tasks wait, and no timer is set")
            self.clock.advance_to(timers[0].when())
        now = self.clock.monotonic()
        while timers and timers[0].when() <= now:
            timer = heapq.heappop(timers)
            timer._scheduled = False  # type: ignore[attr-defined]  # noqa: SLF001 - as BaseEventLoop itself does
            ready.append(timer)
        if ready:
            handle = self._next()
            if not handle.cancelled():
                handle._run()  # noqa: SLF001 - a loop is what runs handles

    def _next(self) -> asyncio.Handle:
        """Take the callback to run now out of the ready ones, of which there is at least one."""
        if self._rng is not None and len(self._ready) > 1:
            self._ready.rotate(-int(self._rng.random() * len(self._ready)))
        return self._ready.popleft()

    def _drop_cancelled(self) -> None:
        # Time must not jump to a timer that nobody waits for any more.
        while self._scheduled and self._scheduled[0].cancelled():
            heapq.heappop(self._scheduled)._scheduled = False  # type: ignore[attr-defined]  # noqa: SLF001

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken."""

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when their time comes."""


def run(scenario: Callable[[VirtualClock], Coroutine[Any, Any, T]], rng: Random | None = None) -> T:
    """Run a scenario in virtual time and return its result; a task that it leaves behind fails it.

    With ``rng`` the order of ready callbacks is drawn, as `VirtualLoop` says.
    """
    clock = VirtualClock()

    async def main() -> T:
        result = await scenario(clock)
        left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, f"tasks left behind: {left}"
        return result

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock, rng)) as runner:
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
