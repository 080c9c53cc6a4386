"""The manager: parts start in order, stop in reverse, and one failure stops all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

import pytest
from attrs import define, field

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.cache.cache import Cache, CacheSyncError
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.errors import ApiError
from kaito_controller.machinery.events.recorder import EventRecorder
from kaito_controller.machinery.manager.manager import GraceExceededError, Manager
from kaito_controller.machinery.manager.runnables import Grace, RunnableGroup
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.process.heartbeat import Heartbeat, MissedBeats, Watchdog
from kaito_controller.testing.clock import VirtualClock, settle, virtual_time
from kaito_controller.testing.transport import ScriptedTransport, listing, obj


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


@pytest.mark.scenario("MG1", "MG2", "LE8")
@virtual_time
async def test_parts_start_in_order_and_stop_before_the_lease_is_given_up(clock: VirtualClock) -> None:
    """Caches, what needs no leader, election, the rest; guarded work ends before the release."""
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


@pytest.mark.scenario("MG4")
@virtual_time
async def test_a_stop_before_the_election_is_won_starts_nothing_more(clock: VirtualClock) -> None:
    """Whatever is told to stop while another one leads never becomes a leader's work."""
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


@pytest.mark.scenario("MG3")
@virtual_time
async def test_a_failure_of_one_part_stops_all_and_is_raised(clock: VirtualClock) -> None:
    """Also while the election still runs."""
    for takes_s in (0.0, 1000.0):
        notes: list[str] = []
        manager = manager_on(clock, election=Election(clock, notes, takes_s=takes_s))
        manager.add(Part("guarded", clock, notes))
        manager.add(Part("brittle", clock, notes, needs_leader=False, fails_after_s=5))
        with pytest.raises(RuntimeError, match="brittle broke"):
            await manager.run(asyncio.Event())
        assert notes[-1] == "released"


@pytest.mark.scenario("MG3")
@pytest.mark.parametrize("where", ["part", "informer"])
@virtual_time
async def test_a_cancellation_that_nobody_asked_for_is_a_failure(clock: VirtualClock, where: str) -> None:
    """What a part waits for may be cancelled by others; without that part the operator would go on as if whole."""

    class Cancelled(Part):
        async def run(self, stop: asyncio.Event) -> None:  # noqa: ARG002 - it ends by itself
            await self.clock.sleep(5)
            raise asyncio.CancelledError

    class Cancelling(ScriptedTransport):
        @asynccontextmanager
        async def stream(self, *_: Any, **__: Any) -> AsyncIterator[AsyncIterator[bytes]]:
            await self.clock.sleep(5)
            raise asyncio.CancelledError
            yield  # what makes it a context

    metrics = Metrics()
    answers = [listing(CONFIG_MAPS, "1")]
    transport = (ScriptedTransport if where == "part" else Cancelling)(clock, answers)
    cache = Cache(Client(transport), clock, metrics)
    cache.informer(CONFIG_MAPS)
    manager = Manager(cache, clock, metrics)
    manager.add(Cancelled("odd", clock, []) if where == "part" else Part("other", clock, []))
    with pytest.raises(RuntimeError, match="cancelled, though not asked to stop"):
        await asyncio.wait_for(manager.run(asyncio.Event()), 60)
    assert clock.monotonic() == 5


@pytest.mark.scenario("MG2", "LE8")
@pytest.mark.parametrize("grace_s", [30, -1])
@pytest.mark.parametrize("first", ["stop", "cancel"])
@virtual_time
async def test_a_manager_cancelled_while_it_stops_leaves_nothing_behind(
    clock: VirtualClock, first: str, grace_s: float
) -> None:
    """Its parts have no more time, but end before the lease is given up, and no task, lease or thread lives on."""
    notes: list[str] = []

    class Slow(Part):
        async def run(self, stop: asyncio.Event) -> None:
            try:
                await super().run(stop)
            finally:
                notes.append("cut off")

    heartbeat = Heartbeat(clock)
    watchdog = Watchdog(heartbeat, notes.append)
    election = Election(clock, notes)
    manager = manager_on(clock, election=election, heartbeat=heartbeat, watchdog=watchdog, grace_s=grace_s)
    manager.add(Slow("slow", clock, notes, finish_s=1000))
    stop = asyncio.Event()
    running = asyncio.create_task(manager.run(stop))
    await clock.sleep(1)
    if first == "stop":
        stop.set()
    else:
        running.cancel()
    await clock.sleep(1)
    running.cancel()
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    assert notes == ["elected", "slow starts", "cut off", "released"]
    assert (clock.monotonic(), [each.name for each in threading.enumerate() if each.name == "watchdog"]) == (2, [])


@pytest.mark.scenario("MG2")
@virtual_time
async def test_a_part_that_does_not_stop_is_cut_off(clock: VirtualClock) -> None:
    """After the grace time; named in the error."""
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


@pytest.mark.scenario("CT10")
@virtual_time
async def test_a_cache_that_never_syncs_ends_the_start_with_the_reason(clock: VirtualClock) -> None:
    """After two minutes, with what the server said."""
    manager = manager_on(clock, *[ApiError(403, "Forbidden", "no")] * 50)
    manager.add(Part("guarded", clock, []))
    with pytest.raises(CacheSyncError, match="configmaps: 403 Forbidden: no"):
        await manager.run(asyncio.Event())
    assert clock.monotonic() == 120


@pytest.mark.scenario("MG3")
@virtual_time
async def test_a_manager_runs_once(clock: VirtualClock) -> None:
    """A second start is an error, also after the end."""
    manager = manager_on(clock)
    stop = asyncio.Event()
    running = asyncio.create_task(manager.run(stop))
    await settle()
    with pytest.raises(RuntimeError, match="started already"):
        await manager.run(stop)
    stop.set()
    await running
    with pytest.raises(RuntimeError, match="started already"):
        await manager.run(stop)


@pytest.mark.scenario("MG3")
@virtual_time
async def test_what_is_added_late_starts_in_its_turn(clock: VirtualClock) -> None:
    """While running: at once, or when this process leads; after the stop it is an error."""
    notes: list[str] = []
    manager = manager_on(clock, election=Election(clock, notes, takes_s=30))
    stop = asyncio.Event()
    running = asyncio.create_task(manager.run(stop))
    await clock.sleep(10)
    manager.add(Part("free", clock, notes, needs_leader=False))
    manager.add(Part("guarded", clock, notes, finish_s=1))
    await clock.sleep(1)
    assert notes == ["free starts"]
    await clock.sleep(50)
    manager.add(Part("later", clock, notes))
    await settle()
    assert notes == ["free starts", "elected", "guarded starts", "later starts"]
    stop.set()
    await settle()
    for needs_leader in (True, False):
        with pytest.raises(RuntimeError, match="too late: cannot start any more"):
            manager.add(Part("too late", clock, notes, needs_leader=needs_leader))
    await running
    with pytest.raises(RuntimeError, match="cannot start any more"):
        manager.add(Part("too late", clock, notes))


@pytest.mark.scenario("MG1", "MG2")
@virtual_time
async def test_servers_come_first_and_go_after_everything_that_works(clock: VirtualClock) -> None:
    """Probes answer before the caches have synced and until the last part has ended; readiness falls at the stop."""
    notes: list[str] = []

    class Listening:
        async def start(self) -> int:
            notes.append("server starts")
            return 1

        async def stop(self) -> None:
            notes.append("server stops")

    metrics = Metrics()

    class Informers(Cache):
        def start(self) -> None:
            notes.append("caches start")
            super().start()

        async def stop(self) -> None:
            await super().stop()
            notes.append("caches stop")

    cache = Informers(Client(ScriptedTransport(clock, [listing(CONFIG_MAPS, "1")])), clock, metrics)
    cache.informer(CONFIG_MAPS)
    election = Election(clock, notes, takes_s=5)
    synced = lambda: notes.append("synced")  # noqa: E731 - a callback
    manager = Manager(cache, clock, metrics, election=election, servers=[Listening()], on_synced=synced)
    manager.add(Part("guarded", clock, notes, finish_s=2))
    manager.add(Part("free", clock, notes, needs_leader=False, finish_s=1))
    stop = asyncio.Event()
    running = asyncio.create_task(manager.run(stop))
    await clock.sleep(10)
    stop.set()
    await settle()
    assert not manager.is_ready
    await running
    assert notes == [
        *("server starts", "caches start", "synced", "free starts", "elected", "guarded starts"),
        *("free ends", "guarded ends", "caches stop", "server stops", "released"),
    ]
    # All that runs is asked at once: the slowest of them decides, not their sum.
    assert clock.monotonic() == 10 + 2


@pytest.mark.scenario("MG4")
@virtual_time
async def test_a_group_that_was_asked_to_stop_starts_nothing(clock: VirtualClock) -> None:
    """In whatever order the two come: nothing that waited for its start begins."""
    notes: list[str] = []
    group = RunnableGroup("parts", lambda name, error: notes.append(f"{name}: {error}"))
    group.add("guarded", Part("guarded", clock, notes).run)
    group.close()
    group.start()
    assert await group.stop(Grace(clock, 5)) == ([], [])
    assert notes == []


@pytest.mark.scenario("MG1", "MG2", "CT13")
@virtual_time
async def test_what_warms_up_prepares_before_it_leads(clock: VirtualClock) -> None:
    """Once, before the election is won, and stopped with the rest when it never is."""
    notes: list[str] = []

    class Warm(Part):
        warms_up = True

        async def warm_up(self, stop: asyncio.Event) -> None:
            notes.append("warms up")
            await stop.wait()
            notes.append("warm-up ends")

    manager = manager_on(clock, election=Election(clock, notes, takes_s=30))
    manager.add(Warm("guarded", clock, notes))
    manager.add(Part("free", clock, notes, needs_leader=False))
    stop = asyncio.Event()
    running = asyncio.create_task(manager.run(stop))
    await clock.sleep(10)
    assert notes == ["free starts", "warms up"]
    stop.set()
    await running
    assert (sorted(notes[2:4]), notes[4:], clock.monotonic()) == (["free ends", "warm-up ends"], ["released"], 10)


@pytest.mark.scenario("MG2")
@pytest.mark.parametrize(("grace_s", "ends_at"), [(0, 0), (-1, 1000)])
@virtual_time
async def test_no_grace_cuts_off_at_once_and_endless_grace_never(
    clock: VirtualClock, grace_s: float, ends_at: float
) -> None:
    """Neither is an error: who gives no time asked for it, who gives all time gets a clean end."""
    notes: list[str] = []
    manager = manager_on(clock, grace_s=grace_s, election=Election(clock, notes))
    manager.add(Part("slow", clock, notes, finish_s=1000))
    stop = asyncio.Event()
    running = asyncio.create_task(manager.run(stop))
    await settle()
    stop.set()
    await running
    assert clock.monotonic() == ends_at
    assert notes == ["elected", "slow starts", *(["slow ends"] if ends_at else []), "released"]


@pytest.mark.scenario("MG3")
@virtual_time
async def test_a_failure_and_an_overrun_are_raised_together(clock: VirtualClock) -> None:
    """Neither hides the other."""
    manager = manager_on(clock, grace_s=7)
    manager.add(Part("brittle", clock, [], fails_after_s=5))
    manager.add(Part("slow", clock, [], finish_s=1000))
    with pytest.raises(ExceptionGroup) as caught:
        await manager.run(asyncio.Event())
    assert [str(error) for error in caught.value.exceptions] == [
        "brittle broke",
        "not stopped within 7 s, so cut off: slow",
    ]
    assert clock.monotonic() == 12


@pytest.mark.scenario("MG2", "MG3")
@virtual_time
async def test_what_fails_while_stopping_is_logged_and_not_raised(clock: VirtualClock) -> None:
    """The stop was asked for; so is being cancelled no failure."""

    class Sore(Part):
        async def run(self, stop: asyncio.Event) -> None:
            await stop.wait()
            raise asyncio.CancelledError if self.name == "cancelled" else RuntimeError("too tired")

    manager = manager_on(clock)
    manager.add(Sore("sore", clock, []))
    manager.add(Sore("cancelled", clock, []))
    stop = asyncio.Event()
    running = asyncio.create_task(manager.run(stop))
    await settle()
    stop.set()
    await running


@pytest.mark.scenario("LE8", "MG2")
@virtual_time
async def test_the_lease_is_not_given_up_while_work_goes_on(clock: VirtualClock) -> None:
    """A part that even a cancellation does not end may still write: the process is ended, and the lease runs out."""
    notes: list[str] = []

    class Deaf(Part):
        async def run(self, stop: asyncio.Event) -> None:
            await stop.wait()
            until = self.clock.monotonic() + 60
            while self.clock.monotonic() < until:
                with suppress(asyncio.CancelledError):
                    await self.clock.sleep(until - self.clock.monotonic())
            notes.append("deaf ends")

    manager = manager_on(clock, grace_s=7, election=Election(clock, notes), on_stuck=notes.append)
    manager.add(Deaf("deaf", clock, notes))
    stop = asyncio.Event()
    running = asyncio.create_task(manager.run(stop))
    await settle()
    stop.set()
    with pytest.raises(GraceExceededError, match="deaf"):
        await running
    assert notes == ["elected", "deaf: still at work although cut off; the lease is left to run out"]
    await clock.sleep(60)


@pytest.mark.scenario("EV7", "MG2")
@virtual_time
async def test_the_last_events_are_sent_after_the_election_has_ended(clock: VirtualClock) -> None:
    """For two seconds at most: also what a part recorded as its last deed."""
    notes: list[str] = []
    metrics = Metrics()

    class Sink(ScriptedTransport):
        async def request(self, method: str, path: str, **more: Any) -> Object:
            if method != "POST":
                return await super().request(method, path, **more)
            notes.append(more["body"]["reason"])
            if more["body"]["reason"] == "Hopeless":
                await asyncio.Event().wait()
            return more["body"]

    client = Client(Sink(clock, [listing(CONFIG_MAPS, "1")]))
    recorder = EventRecorder(client=client, clock=clock, rng=Random(1), metrics=metrics, controller="c", instance="c-1")

    class Talking(Part):
        async def run(self, stop: asyncio.Event) -> None:
            await stop.wait()
            recorder.event(obj(CONFIG_MAPS, "a", "1"), "Normal", "Stopped", "x")
            recorder.event(obj(CONFIG_MAPS, "a", "1"), "Normal", "Hopeless", "x")

    class Slow(Election):
        async def release(self) -> None:
            await super().release()
            recorder.event(obj(CONFIG_MAPS, "a", "1"), "Normal", "Released", "x")

    cache = Cache(client, clock, metrics)
    manager = Manager(cache, clock, metrics, recorder=recorder, election=Slow(clock, notes))
    manager.add(Talking("talking", clock, notes))
    stop = asyncio.Event()
    running = asyncio.create_task(manager.run(stop))
    await clock.sleep(1)
    stop.set()
    await running
    assert notes[:1] == ["elected"]
    assert set(notes) == {"elected", "released", "Stopped", "Hopeless"}
    assert clock.monotonic() == 3


@pytest.mark.scenario("MG5")
@virtual_time
async def test_checks_are_added_before_the_start_and_once(clock: VirtualClock) -> None:
    """Later ones would be missing from the paths that are served."""
    manager = manager_on(clock)
    manager.add_health_check("own", lambda: "")
    with pytest.raises(RuntimeError, match="'own': there is one"):
        manager.add_health_check("own", lambda: "")
    with pytest.raises(RuntimeError, match="'caches': there is one"):
        manager.add_readiness_check("caches", lambda: "")
    stop = asyncio.Event()
    running = asyncio.create_task(manager.run(stop))
    await settle()
    with pytest.raises(RuntimeError, match="runs already"):
        manager.add_health_check("late", lambda: "")
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
