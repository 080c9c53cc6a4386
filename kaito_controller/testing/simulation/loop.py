"""The event loop of a simulation: several processes in one loop, each of which can be frozen as SIGSTOP would."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from itertools import count
from random import Random
from typing import Any

from kaito_controller.testing.clock import VirtualClock, VirtualLoop
from kaito_controller.testing.simulation.trace import Violation

STEPS_LIMIT = 50_000
"""Callbacks within one instant of virtual time; a world of a dozen tasks needs some hundreds."""

HORIZON_S = 10_000.0
"""No world lasts longer; one that does waits for something that does not come."""

PROCESS: ContextVar[str] = ContextVar("process", default="")
"""The simulated process that the running code belongs to; empty for the server, the network and the actors."""


def context_of(process: str) -> Context:
    """A context for tasks that belong to a process."""
    context = copy_context()
    context.run(PROCESS.set, process)
    return context


class _NumberedTask(asyncio.Task[Any]):
    """A task whose hash is its number: sets of tasks, as `asyncio.wait` makes them, keep one order in every run."""

    def __init__(self, number: int, coro: Coroutine[Any, Any, Any], **kwargs: Any) -> None:
        self._number = number
        super().__init__(coro, **kwargs)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimulationLoop(VirtualLoop):
    """Virtual time with drawn order, frozen processes, and an alarm for loops that spin without time passing.

    Attributes:
        after_step: called after each callback with the process that it belonged to; None for nothing.
    """

    def __init__(self, clock: VirtualClock, rng: Random) -> None:
        super().__init__(clock, rng)
        self.after_step: Callable[[str], None] | None = None
        self._frozen: set[str] = set()
        self._parked: deque[asyncio.Handle] = deque()
        self._running = ""
        self._instant = -1.0
        self._steps = 0
        self._horizon = HORIZON_S
        numbers = count()

        def factory(_: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
            return _NumberedTask(next(numbers), coro, loop=self, **kwargs)

        self.set_task_factory(factory)

    def freeze(self, process: str) -> None:
        """Run nothing of a process until it is thawed; its timers fall due meanwhile."""
        self._frozen.add(process)

    def thaw(self, process: str) -> None:
        """Let a process go on with all that became ready meanwhile."""
        self._frozen.discard(process)
        self._ready.extend(self._parked)
        self._parked.clear()

    def is_frozen(self, process: str) -> bool:
        """Whether a process is frozen."""
        return process in self._frozen

    @property
    def timers(self) -> list[asyncio.TimerHandle]:
        """The timers that somebody still waits for."""
        return [timer for timer in self._scheduled if not timer.cancelled()]

    def bury(self) -> None:
        """Close the loop whatever is still under way: let tasks end as far as they do, then drop the rest."""
        self._frozen.clear()
        self.thaw("")
        left = asyncio.all_tasks(self)
        for task in left:
            task.cancel()
        self._steps = 0
        if left:
            with suppress(Exception):
                self.run_until_complete(_turns())
        self.close()

    def _run_once(self) -> None:
        super()._run_once()
        if self.after_step is not None:
            self.after_step(self._running)

    def _next(self) -> asyncio.Handle:
        self._count()
        handle = super()._next()
        process = handle._context.get(PROCESS, "")  # type: ignore[attr-defined]  # noqa: SLF001 - whose it is, only it knows
        self._running = process
        if process in self._frozen:
            self._parked.append(handle)
            self._running = ""
            return asyncio.Handle(_nothing, (), self)
        return handle

    def _count(self) -> None:
        now = self.clock.monotonic()
        if now != self._instant:
            self._instant, self._steps = now, 0
            if now > self._horizon:
                self._horizon *= 2
                raise Violation(f"the world does not end: {HORIZON_S:g} s have passed")
        self._steps += 1
        if self._steps > STEPS_LIMIT:
            raise Violation(f"hot loop: {STEPS_LIMIT} callbacks within one instant")


async def _turns() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


def _nothing() -> None:
    """What runs in place of a frozen process."""
