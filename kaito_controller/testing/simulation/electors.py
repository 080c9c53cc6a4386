"""A world of contenders for one lease: never do two of them act at once, and in the end one does."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import ClassVar

from attrs import define, field

from kaito_controller.kube.core import LEASES
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.election.elector import LeaderElector
from kaito_controller.machinery.election.leadership import Callbacks, Durations, LeadershipLostError
from kaito_controller.testing.clock import VirtualClock
from kaito_controller.testing.leases import SkewedClock
from kaito_controller.testing.simulation.faults import Fault
from kaito_controller.testing.simulation.link import Link
from kaito_controller.testing.simulation.loop import SimulationLoop, context_of
from kaito_controller.testing.simulation.trace import Violation
from kaito_controller.testing.simulation.world import World

LENGTHS_S = (40.0, 80.0, 200.0)
DURATIONS = (Durations(), Durations(), Durations(lease_s=60, renew_deadline_s=40, retry_s=5))
DRIFTS = (1.0, 1.0, 0.95, 1.05)
"""Speeds of monotonic clocks. The election bears differences up to the ratio of lease and renew deadline, 1.5."""
WORK_ENDS_S = 1.0
"""Guarded work that was cancelled takes up to that long to end, well within the margin of lease and deadline."""


class WorkError(Exception):
    """The guarded work of a leader has failed."""


@define(eq=False)
class _Contender:
    """A process that starts anew, under a new identity, whenever it has ended."""

    name: str
    clock: SkewedClock
    link: Link
    elector: LeaderElector | None = field(default=None)
    lives: int = 0
    is_working: bool = False
    is_frozen: bool = False
    was_frozen: bool = False
    is_cut: bool = False
    is_stopped: bool = False
    is_stuck: bool = False

    @property
    def acts(self) -> bool:
        """Whether it would send a write now: it believes to lead, and its own clock does not object."""
        elector = self.elector
        return elector is not None and elector.is_leader and self.clock.monotonic() < elector.leads_until


class ElectionWorld(World):
    """Several processes contend; they are cut off, frozen, stopped, killed, and their clocks are wrong."""

    name: ClassVar[str] = "election"
    fault_kinds: ClassVar[tuple[Fault, ...]] = (
        *(Fault.REFUSED, Fault.RESET, Fault.UNANSWERED, Fault.LOST, Fault.LATE, Fault.SLOW, Fault.DETOUR, Fault.BUSY),
        *(Fault.BUSY_AFTER, Fault.UNAVAILABLE, Fault.PROXY, Fault.INTERNAL, Fault.UNAUTHORIZED, Fault.RESTART),
        *(Fault.WALL_CLOCK, Fault.SLOW_LOOP),
    )

    # Longer ones are had by freezing one process at a time.
    stalls_s: ClassVar[tuple[float, ...]] = (3.0,)

    def __init__(self, seed: int, clock: VirtualClock, loop: SimulationLoop) -> None:
        super().__init__(seed, clock, loop)
        self.durations = self.rng.choice(DURATIONS)
        self.contenders = [self._contender(number) for number in range(self.rng.randint(2, 4))]
        self._by_name = {each.name: each for each in self.contenders}
        self._lives: dict[_Contender, asyncio.Task[None]] = {}
        self._doings: dict[str, float] = {
            doing: self.rng.choice((0.0, 1.0, 3.0)) for doing in ("freeze", "cut", "stop", "stick")
        }
        self.terms = 0
        self.work_fails = self.rng.choice((0.0, 0.0, 0.05))

    async def act(self) -> None:
        """Start all, and disturb them for a while."""
        rng = self.rng
        length_s = rng.choice(LENGTHS_S)
        self.loop.after_step = self._after_step
        for contender in self.contenders:
            self._start(contender)
        while self.clock.monotonic() < length_s:
            await self.clock.sleep(rng.expovariate(1 / 5))
            self.look()
            doings = [doing for doing, weight in self._doings.items() if weight]
            if doings:
                doing = rng.choices(doings, [self._doings[each] for each in doings])[0]
                self._disturb(doing, rng.choice(self.contenders))

    async def settle(self) -> None:
        """Wait for a leader, and see that it stays."""
        self.work_fails = 0.0
        for contender in self.contenders:
            self._heal(contender)
        await self.until("a process does not end", lambda: not any(each.is_stopped for each in self.contenders), 150.0)
        # A request that vanished may still cost its sender the lease.
        await self.clock.sleep(self.durations.lease_s)
        limit_s = 3 * self.durations.lease_s + 60.0
        await self.until("nobody leads", lambda: bool(self._leaders()), limit_s, self._told)
        leader = self._leaders()
        terms = self.terms
        await self.clock.sleep(3 * self.durations.lease_s)
        if self._leaders() != leader or self.terms != terms:
            raise Violation(f"the leader changes without a cause: {leader}, then {self._leaders()}")

    def check(self) -> None:
        """That two never act at once was checked after each step."""

    async def stop(self) -> None:
        """End all processes in good order."""
        self.loop.after_step = None
        for contender in self.contenders:
            self._heal(contender)
        for task in self._lives.values():
            task.cancel()
        await asyncio.gather(*self._lives.values(), return_exceptions=True)

    def _contender(self, number: int) -> _Contender:
        rng = self.rng
        name = f"process-{number}"
        clock = SkewedClock(clock=self.clock, offset_s=rng.choice((0.0, -86400.0, 3600.0)), rate=rng.choice(DRIFTS))
        contender = _Contender(name, clock, Link(self.network, name))
        contender.link.cut = lambda: contender.is_cut
        return contender

    def _start(self, contender: _Contender) -> None:
        task = self.loop.create_task(self._live(contender), name=contender.name, context=context_of(contender.name))
        self._lives[contender] = task

    async def _live(self, contender: _Contender) -> None:
        while True:
            contender.lives += 1
            contender.was_frozen = False
            identity = f"{contender.name}-{contender.lives}"
            contender.elector = LeaderElector(
                client=Client(contender.link),
                clock=contender.clock,
                rng=self.draws(identity),
                metrics=self.metrics,
                namespace="default",
                name="lease",
                identity=identity,
                durations=self.durations,
                may_renew=lambda: not contender.is_stuck,
            )

            async def work() -> None:
                await self._work(contender)

            callbacks = Callbacks(
                on_started_leading=work, on_stopped_leading=lambda: None, on_new_leader=lambda _: None
            )
            with suppress(LeadershipLostError, WorkError):
                await contender.elector.run(callbacks)
            self.trace.note(identity, "has lost")
            contender.elector = None
            await contender.clock.sleep(self.rng.random() * 5)

    async def _work(self, contender: _Contender) -> None:
        self.terms += 1
        self.trace.note(contender.name, "leads")
        contender.is_working = True
        try:
            while True:
                await contender.clock.sleep(0.5)
                if self.rng.random() < self.work_fails:
                    raise WorkError
        finally:
            # Work that was told to end finishes the request that it is at.
            try:
                await contender.clock.sleep(self.rng.random() * WORK_ENDS_S)
            finally:
                contender.is_working = False

    def _disturb(self, doing: str, contender: _Contender) -> None:
        seconds = self.rng.choice((1.0, 5.0, 12.0, 40.0)) * (0.5 + self.rng.random())
        self.trace.note("actor", doing, contender.name, f"{seconds:.1f} s")
        match doing:
            case "freeze" if not contender.is_frozen:
                contender.is_frozen = contender.was_frozen = True
                self.loop.freeze(contender.name)
                self.clock.call_later(seconds, lambda: self._thaw(contender))
            case "cut" if not contender.is_cut:
                contender.is_cut = True
                self.clock.call_later(seconds, lambda: self._join(contender))
            case "stick" if not contender.is_stuck:
                contender.is_stuck = True
                self.clock.call_later(seconds, lambda: self._unstick(contender))
            case "stop" if not contender.is_stopped:
                contender.is_stopped = True
                self.spawn(self._start_anew(contender, seconds), "start anew")
            case _:
                pass

    async def _start_anew(self, contender: _Contender, seconds: float) -> None:
        life = self._lives[contender]
        life.cancel()
        await asyncio.wait({life})
        contender.elector = None
        await self.clock.sleep(seconds)
        self._start(contender)
        contender.is_stopped = False

    def _heal(self, contender: _Contender) -> None:
        if contender.is_frozen:
            self._thaw(contender)
        self._join(contender)
        self._unstick(contender)

    def _thaw(self, contender: _Contender) -> None:
        if contender.is_frozen:
            self.trace.note("actor", "thaw", contender.name)
        contender.is_frozen = False
        self.loop.thaw(contender.name)

    def _join(self, contender: _Contender) -> None:
        contender.is_cut = False

    def _unstick(self, contender: _Contender) -> None:
        contender.is_stuck = False

    def _leaders(self) -> list[str]:
        return [each.name for each in self.contenders if each.acts]

    def _told(self) -> str:
        lease = [obj["spec"] for obj in self.server.objects(LEASES)]
        return f"the lease: {lease}, cut off: {[each.name for each in self.contenders if each.is_cut]}"

    def _after_step(self, process: str) -> None:
        """Nobody else may act when a process has just run and acts."""
        ran = self._by_name.get(process)
        if ran is None or not (ran.is_working or ran.acts):
            return
        for other in self.contenders:
            if other is ran or other.is_frozen:
                continue
            if ran.acts and other.acts:
                self.violate(f"{ran.name} and {other.name} both act")
            if ran.is_working and other.is_working and not (ran.was_frozen or other.was_frozen):
                self.violate(f"the work of {ran.name} and {other.name} overlaps")
