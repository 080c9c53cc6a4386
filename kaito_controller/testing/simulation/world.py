"""What every simulated world has: time, a loop, a server, a network with faults, a log, and an end that is checked."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any, ClassVar

from kaito_controller.machinery.metrics import Metrics
from kaito_controller.testing.clock import VirtualClock
from kaito_controller.testing.fake.server import FakeServer
from kaito_controller.testing.simulation.faults import HAPPENING, Fault, Faults
from kaito_controller.testing.simulation.loop import SimulationLoop
from kaito_controller.testing.simulation.network import Network
from kaito_controller.testing.simulation.trace import Trace, Violation

WINDOW_S = 1.0
"""The span in which requests are counted to tell a hot loop."""
ENDS_EARLY = 0.2
"""The share of worlds that are stopped in the middle of their faults: that, too, must leave nothing behind."""
METRICS = Metrics()
"""One set for all worlds: making one costs as much as playing a world."""


class World(ABC):
    """One world, made from a seed and played once.

    Attributes:
        name: what it is called.
        fault_kinds: the faults that may happen in it.
        requests_limit: how many requests within a second are a hot loop.
        stalls_s: for how long the whole event loop may stand still, at most; drawn each time.
    """

    name: ClassVar[str]
    fault_kinds: ClassVar[tuple[Fault, ...]] = tuple(Fault)
    requests_limit: ClassVar[int] = 40
    stalls_s: ClassVar[tuple[float, ...]] = (3.0, 3.0, 30.0, 700.0)

    def __init__(self, seed: int, clock: VirtualClock, loop: SimulationLoop) -> None:
        self.seed = seed
        self.clock = clock
        self.loop = loop
        self.rng = self.draws("actors")
        self.trace = Trace(clock)
        self.faults = Faults.drawn(self.draws("faults"), self.trace, self.fault_kinds)
        self.server = FakeServer(clock, self.draws("server"))
        self.network = Network(self.server, clock, self.draws("network"), self.trace, self.faults, self.violate)
        self.metrics = METRICS
        self.ends_early = self.draws("end").random() < ENDS_EARLY
        self._tasks: list[asyncio.Task[Any]] = []
        self._violations: list[str] = []
        loop.set_exception_handler(self._unhandled)

    def draws(self, purpose: str) -> Random:
        """Random numbers of the seed for one purpose, so that more draws for one do not change the others."""
        return Random(f"{self.name} {self.seed} {purpose}")  # noqa: S311 - a simulation, not a secret

    def violate(self, text: str) -> None:
        """Note that an invariant is broken; the world ends at its next look."""
        if not self._violations:
            self.trace.note("VIOLATION", text)
        self._violations.append(text)

    def look(self) -> None:
        """Raise what was violated so far."""
        if self._violations:
            raise Violation(self._violations[0])

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run something that `play` ends."""
        task = self.loop.create_task(work, name=name)
        self._tasks.append(task)
        return task

    async def play(self) -> None:
        """Play the whole world. Raises `Violation` when something happened that must not."""
        try:
            mischief = self.spawn(self._mischief(), "mischief")
            await self.act()
            mischief.cancel()
            if not self.ends_early:
                self.network.recover()
                self.faults.stop()
                self.look()
                await self.settle()
                self.look()
                self.check()
            self._check_pace()
        finally:
            self.trace.note("actor", "the end")
            await self._end()
            await self.stop()
        self.look()
        await self._check_leaks()

    @abstractmethod
    async def act(self) -> None:
        """Start everything, and have things happen for a while."""

    @abstractmethod
    async def settle(self) -> None:
        """Wait, without faults, until all is as it should be; raise `Violation` when that takes too long."""

    @abstractmethod
    def check(self) -> None:
        """Check what has to hold once all is quiet."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop the machinery, as a process that ends in good order does."""

    async def until(
        self, what: str, done: Callable[[], bool], seconds: float, explain: Callable[[], str] = lambda: ""
    ) -> None:
        """Let time pass until something holds."""
        end = self.clock.monotonic() + seconds
        while not done():
            self.look()
            if self.clock.monotonic() > end:
                raise Violation(f"{what}: not within {seconds:g} s without faults. {explain()}".strip())
            await self.clock.sleep(min(5.0, seconds / 20))

    async def _mischief(self) -> None:
        """Have happen to the server and to the machine what no request brings about."""
        rng = self.draws("mischief")
        pace_s = rng.choice((1.0, 5.0, 20.0))
        happenings: dict[Fault, Callable[[], Awaitable[None] | None]] = {
            Fault.RESTART: lambda: self.network.restart(rng.random() * 20),
            Fault.HANG_UP: self.network.hang_up,
            Fault.COMPACTION: self.server.compact,
            Fault.WALL_CLOCK: lambda: self.clock.step_wall((rng.random() - 0.5) * 7200),
            Fault.SLOW_LOOP: lambda: self.clock.advance(rng.random() * rng.choice(self.stalls_s)),
        }
        while True:
            await self.clock.sleep(rng.expovariate(1 / pace_s))
            fault = self.faults.draw(HAPPENING, "")
            if fault is not None:
                happenings[fault]()

    def _check_pace(self) -> None:
        recent: deque[float] = deque()
        for at, _ in self.network.requests:
            recent.append(at)
            while recent[0] < at - WINDOW_S:
                recent.popleft()
            if len(recent) > self.requests_limit:
                raise Violation(f"hot loop: {len(recent)} requests within {WINDOW_S:g} s at {at:.3f}")

    def _unhandled(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.violate(f"unhandled: {context.get('message')} {context.get('exception')!r}")

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _check_leaks(self) -> None:
        """Nothing of the machinery may be left once it was stopped and what was under way has arrived."""
        self.faults.stop()
        await self.clock.sleep(120.0)
        self.look()
        left = sorted(task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task())
        if left:
            raise Violation(f"leak: tasks {left}")
        if self.network.open_streams:
            raise Violation(f"leak: {self.network.open_streams} streams")
        if self.loop.timers:
            raise Violation(f"leak: timers {self.loop.timers!r}")
