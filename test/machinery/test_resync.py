"""Resync: handlers that want it are told of everything again, each by its own timetable, never of anything older."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, resource_version
from kaito_controller.machinery.cache.cache import RESYNC_S, Cache
from kaito_controller.machinery.cache.event import Change, Event
from kaito_controller.machinery.cache.informer import Informer
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.controller import predicates
from kaito_controller.testing.clock import VirtualClock, cancelled, virtual_time
from kaito_controller.testing.transport import ScriptedTransport, Stream, error, event, listing, obj, refused


def cm(name: str, version: str, **metadata: object) -> Object:
    made = obj(CONFIG_MAPS, name, version)
    made["metadata"] |= metadata
    return made


def informer_on(
    clock: VirtualClock, *answers: Object, streams: list[Stream] | None = None, resync_s: float = 0.0
) -> Informer:
    transport = ScriptedTransport(clock, answers, streams or [])
    return Informer(CONFIG_MAPS, Client(transport), clock, rng=Random(1), resync_s=resync_s)


@virtual_time
@pytest.mark.scenario("SI8", "FQ4", "RF20")
async def test_each_handler_is_resynced_by_its_own_clock_from_the_first_period_on(clock: VirtualClock) -> None:
    """Periods of 10 s and 15 s: told at 10, 20, 30… and 15, 30…, the first turn not skipped; others not at all."""
    informer = informer_on(clock, listing(CONFIG_MAPS, "10", cm("a", "1"), cm("b", "2")), resync_s=10)
    told: dict[str, list[float]] = {"own": [], "default": [], "never": []}

    def noting(name: str, event: Event) -> None:
        if event.is_resync:
            assert event.change is Change.UPDATED
            assert event.object is informer.store.get(event.key)
            told[name].append(clock.monotonic())

    informer.add_handler(lambda event: noting("own", event), resync_s=15)
    informer.add_handler(lambda event: noting("default", event))
    informer.add_handler(lambda event: noting("never", event), resync_s=0)
    task = asyncio.create_task(informer.run())
    await clock.sleep(46)
    assert told == {
        "own": [15, 15, 30, 30, 45, 45],
        "default": [t for t in (10, 20, 30, 40) for _ in "ab"],
        "never": [],
    }
    await cancelled(task)


@virtual_time
@pytest.mark.scenario("SI8")
async def test_a_late_handler_and_a_late_list_get_their_first_resync_too(clock: VirtualClock) -> None:
    """The first period is counted from the first list, or from when the handler came, whichever was later."""
    transport = ScriptedTransport(clock, [refused(), listing(CONFIG_MAPS, "10", cm("a", "1"))])
    informer = Informer(CONFIG_MAPS, Client(transport), clock, rng=Random(1), resync_s=10)
    early, late = list[float](), list[float]()
    informer.add_handler(lambda event: early.append(clock.monotonic()) if event.is_resync else None)
    task = asyncio.create_task(informer.run())
    await informer.wait_synced()
    synced_at = clock.monotonic()
    assert synced_at > 0
    await clock.sleep(3)
    informer.add_handler(lambda event: late.append(clock.monotonic()) if event.is_resync else None)
    await clock.sleep(10.5)
    assert early == [pytest.approx(synced_at + 10)]
    assert late == [pytest.approx(synced_at + 13)]
    await cancelled(task)


@virtual_time
@pytest.mark.scenario("SI8")
async def test_an_update_in_the_same_version_is_for_nobody(clock: VirtualClock) -> None:
    """The same version again, by a watch event or a list, is no update; another version is one for every handler."""
    twice = event("MODIFIED", cm("a", "12"))
    streams = [Stream([twice, twice, error(410, "Expired")], stays=True)]
    first, second = listing(CONFIG_MAPS, "10", cm("a", "1")), listing(CONFIG_MAPS, "20", cm("a", "12"))
    informer = informer_on(clock, first, second, streams=streams)
    told: list[str] = []
    informer.add_handler(lambda event: told.append(resource_version(event.object)))
    informer.add_handler(lambda event: told.append(resource_version(event.object)), resync_s=3600)
    task = asyncio.create_task(informer.run())
    await clock.sleep(30)
    assert told == ["1", "1", "12", "12"]
    assert informer.store.resource_version == "20"
    await cancelled(task)


@virtual_time
@pytest.mark.scenario("FQ4", "SI13")
async def test_a_resync_never_shows_an_older_state_than_was_told(clock: VirtualClock) -> None:
    """Changes that come in the middle of a long resync are told once, and the resync goes on with what is new."""
    many = [cm(f"a{number:03}", "5") for number in range(600)]
    changes = [event("MODIFIED", cm(f"a{number:03}", str(100 + number))) for number in (1, 300, 599)]
    informer = informer_on(
        clock,
        listing(CONFIG_MAPS, "10", *many),
        streams=[Stream([10.0, b"".join(changes)], stays=True)],
        resync_s=10,
    )
    versions: dict[str, int] = {}
    resynced: list[str] = []

    async def slow(event: Event) -> None:
        version = int(resource_version(event.object))
        assert version >= versions.get(event.key, 0)
        versions[event.key] = version
        if event.is_resync:
            resynced.append(event.key)

    informer.add_handler(slow)
    task = asyncio.create_task(informer.run())
    await clock.sleep(15)
    assert len(resynced) == 600
    assert (versions["default/a001"], versions["default/a300"], versions["default/a599"]) == (101, 400, 699)
    await cancelled(task)


@virtual_time
@pytest.mark.scenario("SI9")
async def test_periods_have_bounds(clock: VirtualClock) -> None:
    """Below a second is a second; shorter than the informer's counts only before it runs; 0 of the informer is 0."""
    informer = informer_on(clock, listing(CONFIG_MAPS, "10"), resync_s=60)
    nothing = Informer(CONFIG_MAPS, Client(ScriptedTransport(clock)), clock)

    def period(of: Informer, asked: float | None) -> float:
        return of.add_handler(lambda _: None, resync_s=asked).resync_s

    assert period(nothing, 30) == 0
    assert period(nothing, None) == 0
    assert period(informer, None) == 60
    assert period(informer, 90) == 90
    assert period(informer, 0) == 0
    assert period(informer, 30) == 30
    task = asyncio.create_task(informer.run())
    await informer.wait_synced()
    assert period(informer, 20) == 30, "raised to the shortest period from before the start"
    assert period(informer, 40) == 40
    await cancelled(task)
    short = informer_on(clock, listing(CONFIG_MAPS, "10"), resync_s=60)
    assert period(short, 0.01) == 1.0


@virtual_time
@pytest.mark.scenario("PR3")
async def test_generation_changed_stops_a_resync(clock: VirtualClock) -> None:
    """Old is new, so no generation differs; a watch without predicates lets it through."""
    informer = informer_on(clock, listing(CONFIG_MAPS, "10", cm("a", "1", generation=3)), resync_s=10)
    through, stopped = list[bool](), list[bool]()

    def note(event: Event) -> None:
        if event.is_resync:
            through.append(True)
            stopped.append(not predicates.generation_changed(event))

    informer.add_handler(note)
    task = asyncio.create_task(informer.run())
    await clock.sleep(11)
    assert (through, stopped) == ([True], [True])
    await cancelled(task)


@virtual_time
@pytest.mark.scenario("CC3")
async def test_a_cache_resyncs_about_every_ten_hours(clock: VirtualClock) -> None:
    """Each informer draws its own period between nine and eleven hours."""
    cache = Cache(
        Client(ScriptedTransport(clock, [listing(CONFIG_MAPS, "10", cm("a", "1"))] * 2)), clock, rng=Random(3)
    )
    at: dict[str, list[float]] = {"": [], "default": []}
    for namespace in ("", "default"):
        informer = cache.informer(CONFIG_MAPS, namespace=namespace or None)
        informer.add_handler(lambda event, n=namespace: at[n].append(clock.monotonic()) if event.is_resync else None)
    cache.start()
    await cache.wait_synced()
    await clock.sleep(1.1 * RESYNC_S + 1)
    assert all(len(times) == 1 and 0.9 * RESYNC_S <= times[0] <= 1.1 * RESYNC_S for times in at.values())
    assert at[""] != at["default"]
    await cache.stop()
