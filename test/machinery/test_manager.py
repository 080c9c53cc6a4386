"""The manager: parts start in order, stop in reverse, and one failure stops all."""

from __future__ import annotations

import asyncio

import pytest
from attrs import define, field

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.machinery.cache import Cache, CacheSyncError
from kaito_controller.machinery.client import Client
from kaito_controller.machinery.errors import ApiError
from kaito_controller.machinery.heartbeat import Heartbeat, MissedBeats
from kaito_controller.machinery.manager import GraceExceededError, Manager
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.testing.clock import VirtualClock, settle, virtual_time
from kaito_controller.testing.transport import ScriptedTransport, listing


@define
class Part:
    """A runnable that notes its start and its end."""

    name: str
    clock: VirtualClock
    notes: list[str]
    needs_leader: bool = True
    finish_s: float = 0.0
    fails_after_s: float | None = None

    async def run(self, stop: asyncio.Event) -> None:
        self.notes.append(f"{self.name} starts")
        if self.fails_after_s is not None:
            await self.clock.sleep(self.fails_after_s)
            raise RuntimeError(f"{self.name} broke")
        await stop.wait()
        await self.clock.sleep(self.finish_s)
        self.notes.append(f"{self.name} ends")


@define
class Election:
    """An election of this test: won after some seconds."""

    clock: VirtualClock
    notes: list[str]
    takes_s: float = 0.0
    is_held: bool = field(init=False, default=False)

    async def acquire(self) -> None:
        await self.clock.sleep(self.takes_s)
        self.is_held = True
        self.notes.append("elected")

    async def release(self) -> None:
        self.is_held = False
        self.notes.append("released")


def manager_on(clock: VirtualClock, *answers, **more) -> Manager:
    metrics = Metrics()
    transport = ScriptedTransport(clock, answers or (listing(CONFIG_MAPS, "1"),))
    cache = Cache(Client(transport), clock, metrics)
    cache.informer(CONFIG_MAPS)
    return Manager(cache, clock, metrics, **more)


@virtual_time
async def test_parts_start_in_order_and_stop_before_the_lease_is_given_up(clock: VirtualClock) -> None:
    """MG1, MG2, LE8: caches, what needs no leader, election, the rest; guarded work ends before the release."""
    notes: list[str] = []
    manager = manager_on(clock, election=Election(clock, notes, takes_s=30))
    manager.add(Part("guarded", clock, notes, finish_s=3))
    manager.add(Part("free", clock, notes, needs_leader=False))
    stop = asyncio.Event()
    running = asyncio.create_task(manager.run(stop))
    await clock.sleep(10)
    assert (notes, manager.is_ready) == (["free starts"], True)
    await clock.sleep(100)
    stop.set()
    await running
    assert notes == ["free starts", "elected", "guarded starts", "free ends", "guarded ends", "released"]
    assert (clock.monotonic(), manager.is_ready) == (113, False)


@virtual_time
async def test_a_stop_before_the_election_is_won_starts_nothing_more(clock: VirtualClock) -> None:
    """MG4."""
    notes: list[str] = []
    manager = manager_on(clock, election=Election(clock, notes, takes_s=1000))
    manager.add(Part("guarded", clock, notes))
    stop = asyncio.Event()
    running = asyncio.create_task(manager.run(stop))
    await clock.sleep(10)
    stop.set()
    await running
    assert notes == ["released"]
    assert clock.monotonic() == 10


@virtual_time
async def test_a_failure_of_one_part_stops_all_and_is_raised(clock: VirtualClock) -> None:
    """MG3: also while the election still runs."""
    for takes_s in (0.0, 1000.0):
        notes: list[str] = []
        manager = manager_on(clock, election=Election(clock, notes, takes_s=takes_s))
        manager.add(Part("guarded", clock, notes))
        manager.add(Part("brittle", clock, notes, needs_leader=False, fails_after_s=5))
        with pytest.raises(RuntimeError, match="brittle broke"):
            await manager.run(asyncio.Event())
        assert notes[-1] == "released"


@virtual_time
async def test_a_part_that_does_not_stop_is_cut_off(clock: VirtualClock) -> None:
    """MG2: after the grace time; named in the error."""
    notes: list[str] = []
    manager = manager_on(clock, grace_s=7)
    manager.add(Part("slow", clock, notes, finish_s=1000))
    stop = asyncio.Event()
    running = asyncio.create_task(manager.run(stop))
    await settle()
    stop.set()
    with pytest.raises(GraceExceededError, match="within 7 s, so cut off: slow"):
        await running
    assert clock.monotonic() == 7


@virtual_time
async def test_a_cache_that_never_syncs_ends_the_start_with_the_reason(clock: VirtualClock) -> None:
    """CT10."""
    manager = manager_on(clock, *[ApiError(403, "Forbidden", "no")] * 50)
    manager.add(Part("guarded", clock, []))
    with pytest.raises(CacheSyncError, match="configmaps: 403 Forbidden: no"):
        await manager.run(asyncio.Event())
    assert clock.monotonic() == 120


@virtual_time
async def test_a_manager_runs_once(clock: VirtualClock) -> None:
    """MG3: a second start and a late part are errors, not surprises."""
    manager = manager_on(clock)
    stop = asyncio.Event()
    running = asyncio.create_task(manager.run(stop))
    await settle()
    with pytest.raises(RuntimeError, match="started already"):
        await manager.run(stop)
    with pytest.raises(RuntimeError, match="before run"):
        manager.add(Part("late", clock, []))
    stop.set()
    await running


@virtual_time
async def test_the_heart_beats_while_the_loop_turns(clock: VirtualClock) -> None:
    """A beat a second; alive until five seconds without one."""
    heart = Heartbeat(clock)
    beating = asyncio.create_task(heart.run())
    await clock.sleep(9.5)
    assert (heart.beats, heart.is_alive()) == (10, True)
    beating.cancel()
    await settle()
    await clock.sleep(4)
    assert heart.is_alive()
    await clock.sleep(1)
    assert not heart.is_alive()


def test_missed_beats_count_looks_not_seconds() -> None:
    """A process that was stopped for an hour missed one look, not 3,600."""
    missed = MissedBeats()
    assert [missed.look(beats) for beats in (1, 2, 2, 2, 3, 3)] == [0, 0, 1, 2, 0, 1]
