"""Handlers and their registrations: who is told when, what one that is slow, stuck or broken does to the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, resource_version
from kaito_controller.machinery.cache.event import Event, Handler
from kaito_controller.machinery.cache.informer import Informer, Registration
from kaito_controller.machinery.cache.registration import HANDLER_GRACE_S, HandlerRemovedError
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.testing.clock import VirtualClock, cancelled, settle, virtual_time
from kaito_controller.testing.transport import ScriptedTransport, Stream, event, listing, obj


def cm(name: str, version: str) -> Object:
    return obj(CONFIG_MAPS, name, version)


def informer_on(
    clock: VirtualClock, *objects: Object, streams: list[Stream] | None = None, metrics: Metrics | None = None
) -> Informer:
    transport = ScriptedTransport(clock, [listing(CONFIG_MAPS, "10", *objects)], streams or [])
    return Informer(CONFIG_MAPS, Client(transport), clock, rng=Random(1), metrics=metrics)


def noting(told: list[tuple[str, str, bool]]) -> Callable[[Event], None]:
    return lambda event: told.append((event.change.value, event.key, event.initial))


@virtual_time
@pytest.mark.scenario("SI6", "FQ1", "FQ9")
async def test_a_stuck_handler_delays_no_other_and_loses_nothing(clock: VirtualClock) -> None:
    """While one hangs for an hour, store and other handlers go on; then it gets all 3,000 events, in order."""
    changes = [event("MODIFIED", cm("a", str(version))) for version in range(11, 3011)]
    informer = informer_on(clock, cm("a", "10"), streams=[Stream([1.0, b"".join(changes)], stays=True)])
    quick, slow = list[str](), list[str]()

    async def stuck(event: Event) -> None:
        if not slow:
            await clock.sleep(3600)
        slow.append(resource_version(event.object))

    registration = informer.add_handler(stuck)
    informer.add_handler(lambda event: quick.append(resource_version(event.object)))
    task = asyncio.create_task(informer.run())
    await clock.sleep(10)
    assert quick == [str(version) for version in range(10, 3011)]
    assert informer.store.resource_version == "3010"
    assert (slow, registration.backlog) == ([], 3000)
    assert not registration.has_synced, "it has not dealt with the first list"
    await clock.sleep(3600)
    assert slow == quick
    assert registration.has_synced
    await cancelled(task)


@virtual_time
@pytest.mark.scenario("SI3", "SI2")
async def test_a_handler_has_synced_when_it_has_dealt_with_the_first_list(clock: VirtualClock) -> None:
    """The informer is synced at once, a slow handler after its last object of the first list, a late one after its."""
    streams = [Stream([25.0, event("ADDED", cm("c", "12"))], stays=True)]
    informer = informer_on(clock, cm("a", "1"), cm("b", "2"), streams=streams)

    async def slow(_: Event) -> None:
        await clock.sleep(10)

    first = informer.add_handler(slow)
    task = asyncio.create_task(informer.run())
    await informer.wait_synced()
    late = informer.add_handler(slow)
    inline = informer.add_handler(lambda _: None)
    assert (first.has_synced, late.has_synced, inline.has_synced) == (False, False, True)
    await clock.sleep(19)
    assert not first.has_synced
    await asyncio.gather(first.wait_synced(), late.wait_synced())
    assert clock.monotonic() == 20
    await cancelled(task)


@virtual_time
@pytest.mark.scenario("SI2")
async def test_a_handler_added_by_a_handler_hears_of_each_object_once(clock: VirtualClock) -> None:
    """Added in the middle of a list's notifications it finds all in the store; none is told it again."""
    told: list[tuple[str, str, bool]] = []

    def adding(event: Event) -> None:
        if event.key == "default/a":
            informer.add_handler(noting(told))

    informer = informer_on(clock, cm("a", "1"), cm("b", "2"))
    informer.add_handler(adding)
    task = asyncio.create_task(informer.run())
    await informer.wait_synced()
    assert told == [("ADDED", "default/a", True), ("ADDED", "default/b", True)]
    await cancelled(task)


@virtual_time
@pytest.mark.scenario("SI5")
async def test_shutdown_waits_for_the_event_in_hand_and_remove_does_not(clock: VirtualClock) -> None:
    """After remove the handler may be at its event still; after shutdown it has returned, and gets no other."""
    informer = informer_on(clock, cm("a", "1"), cm("b", "2"))
    done: list[str] = []

    async def slow(event: Event) -> None:
        await clock.sleep(10)
        done.append(event.key)

    removed, shut = informer.add_handler(slow), informer.add_handler(slow)
    task = asyncio.create_task(informer.run())
    await clock.sleep(1)
    removed.remove()
    assert done == []
    await shut.shutdown()
    assert clock.monotonic() == 10
    await clock.sleep(100)
    assert done == ["default/a"] * 2, "each finished its first event and was handed no second"
    await cancelled(task)


@virtual_time
@pytest.mark.scenario("SI5")
async def test_a_callback_that_shuts_itself_down_is_told_so(clock: VirtualClock) -> None:
    """Where client-go deadlocks, an error says what to call instead; the handler goes on hearing."""
    informer = informer_on(clock, cm("a", "1"), cm("b", "2"))
    errors: list[str] = []
    registrations: list[Registration] = []

    async def suicidal(_: Event) -> None:
        try:
            await registrations[0].shutdown()
        except RuntimeError as error:
            errors.append(str(error))

    registrations.append(informer.add_handler(suicidal))
    task = asyncio.create_task(informer.run())
    await clock.sleep(1)
    assert len(errors) == 2
    assert "call remove() there" in errors[0]
    await cancelled(task)


@virtual_time
@pytest.mark.scenario("SI4")
async def test_removal_is_idempotent_and_only_of_ones_own(clock: VirtualClock) -> None:
    """Removed twice, after the stop, or handed to another informer: nothing happens. Twice added is told twice."""
    told, stranger_told = list[tuple[str, str, bool]](), list[tuple[str, str, bool]]()
    streams = [Stream([5.0, event("ADDED", cm("b", "12"))], stays=True)]
    informer = informer_on(clock, cm("a", "1"), streams=streams)
    stranger = informer_on(clock, cm("a", "1"), streams=[Stream([5.0, event("ADDED", cm("b", "12"))], stays=True)])
    handler = noting(told)
    first, second = informer.add_handler(handler), informer.add_handler(handler)
    foreign = stranger.add_handler(noting(stranger_told))
    tasks = [asyncio.create_task(informer.run()), asyncio.create_task(stranger.run())]
    await clock.sleep(1)
    assert told == [("ADDED", "default/a", True)] * 2
    first.remove()
    first.remove()
    informer.drop(foreign)
    await clock.sleep(9)
    assert told == [("ADDED", "default/a", True)] * 2 + [("ADDED", "default/b", False)]
    assert len(stranger_told) == 2, "it went on hearing"
    await cancelled(*tasks)
    second.remove()
    await second.shutdown()


async def lingering(_: Event) -> None:
    await asyncio.Event().wait()


def quick(_: Event) -> None:
    """Deals with an event at once."""


@virtual_time
@pytest.mark.scenario("SI3", "SI4")
@pytest.mark.parametrize("handler", [quick, lingering])
async def test_whoever_waits_for_a_handler_that_is_removed_is_told(clock: VirtualClock, handler: Handler) -> None:
    """It never syncs, and the wait had no end; one that had synced before stays so."""
    informer = informer_on(clock, cm("a", "1"))
    early, stays = informer.add_handler(handler), informer.add_handler(quick)
    waiting = asyncio.create_task(early.wait_synced())
    await settle()
    early.remove()
    for wait in (waiting, early.wait_synced()):
        with pytest.raises(HandlerRemovedError, match="before it had synced"):
            await asyncio.wait_for(wait, 60)
    task = asyncio.create_task(informer.run())
    await stays.wait_synced()
    stays.remove()
    await stays.wait_synced()
    assert (early.has_synced, stays.has_synced) == (False, True)
    await cancelled(task)


@virtual_time
@pytest.mark.scenario("SI3", "SI11")
async def test_whoever_waits_for_a_handler_is_told_that_the_informer_stops(clock: VirtualClock) -> None:
    """The first list has come, but the handler is at its first object still."""
    informer = informer_on(clock, cm("a", "1"))
    registration = informer.add_handler(lingering)
    waiting = asyncio.create_task(registration.wait_synced())
    task = asyncio.create_task(informer.run())
    await clock.sleep(10)
    assert not waiting.done()
    await cancelled(task)
    with pytest.raises(HandlerRemovedError, match="informer stopped"):
        await asyncio.wait_for(waiting, 60)


@virtual_time
@pytest.mark.scenario("SI4")
async def test_a_handler_removed_by_another_in_the_same_step_hears_nothing_more(clock: VirtualClock) -> None:
    """Removal holds from the moment it is called, also for the event that is being told."""
    told: list[tuple[str, str, bool]] = []
    informer = informer_on(clock, cm("a", "1"), cm("b", "2"))
    informer.add_handler(lambda _: victim.remove())
    victim = informer.add_handler(noting(told))
    task = asyncio.create_task(informer.run())
    await informer.wait_synced()
    assert told == []
    await cancelled(task)


@virtual_time
@pytest.mark.scenario("SI7")
async def test_a_coroutine_handler_that_fails_or_is_cancelled_goes_on(clock: VirtualClock) -> None:
    """A raise, or a cancel of something it awaited, skips that event alone; each is counted."""
    metrics, told = Metrics(), list[str]()
    streams = [Stream([event("ADDED", cm("c", "12"))], stays=True)]
    informer = informer_on(clock, cm("a", "1"), cm("b", "2"), streams=streams, metrics=metrics)

    async def brittle(event: Event) -> None:
        if event.key == "default/a":
            raise RuntimeError("cannot")
        if event.key == "default/b":
            raise asyncio.CancelledError
        told.append(event.key)

    informer.add_handler(brittle)
    task = asyncio.create_task(informer.run())
    await clock.sleep(1)
    assert told == ["default/c"]
    assert metrics.registry.get_sample_value("informer_handler_errors_total", {"name": "ConfigMap"}) == 2
    await cancelled(task)


@virtual_time
@pytest.mark.scenario("SI7")
async def test_a_plain_handler_cannot_end_the_informer_by_a_cancel(clock: VirtualClock) -> None:
    """CancelledError out of a handler is a failure of the handler; store and other handlers go on."""
    told: list[tuple[str, str, bool]] = []

    def cancelling(_: Event) -> None:
        raise asyncio.CancelledError

    informer = informer_on(clock, cm("a", "1"), streams=[Stream([event("ADDED", cm("b", "12"))], stays=True)])
    informer.add_handler(cancelling)
    informer.add_handler(noting(told))
    task = asyncio.create_task(informer.run())
    await clock.sleep(1)
    assert [key for _, key, _ in told] == ["default/a", "default/b"]
    assert not task.done()
    await cancelled(task)


@virtual_time
@pytest.mark.scenario("SI11", "FQ7")
async def test_the_reflector_stops_before_the_handlers(clock: VirtualClock) -> None:
    """At the stop the stream is closed first; the event in hand is finished, what waits is dropped, no task is left."""
    streams = [Stream([event("ADDED", cm(name, str(20 + number))) for number, name in enumerate("bcd")], stays=True)]
    transport = ScriptedTransport(clock, [listing(CONFIG_MAPS, "10", cm("a", "1"))], streams)
    informer = Informer(CONFIG_MAPS, Client(transport), clock, rng=Random(1))
    done: list[tuple[str, int]] = []

    async def slow(event: Event) -> None:
        await clock.sleep(3)
        done.append((event.key, transport.open_streams))

    idle: list[str] = []

    async def waiting(event: Event) -> None:
        idle.append(event.key)

    informer.add_handler(slow)
    informer.add_handler(waiting)
    task = asyncio.create_task(informer.run())
    await clock.sleep(1)
    await cancelled(task)
    assert done == [("default/a", 0)]
    assert idle == ["default/a", "default/b", "default/c", "default/d"], "all that had come was delivered"
    assert len(informer.store) == 4
    assert clock.monotonic() == 3


@virtual_time
@pytest.mark.scenario("SI11")
async def test_a_handler_that_hangs_holds_the_stop_for_seconds_only(clock: VirtualClock) -> None:
    """It is cancelled when its grace is over."""
    informer = informer_on(clock, cm("a", "1"))
    cancels: list[float] = []

    async def hangs(_: Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancels.append(clock.monotonic())

    informer.add_handler(hangs)
    task = asyncio.create_task(informer.run())
    await clock.sleep(1)
    await cancelled(task)
    assert cancels == [1 + HANDLER_GRACE_S]


@virtual_time
@pytest.mark.scenario("SI1")
async def test_an_informer_runs_once_and_takes_nothing_after_its_stop(clock: VirtualClock) -> None:
    """A second run returns at once and makes no request; handlers and indexes come too late after the stop."""
    transport = ScriptedTransport(clock, [listing(CONFIG_MAPS, "10")])
    informer = Informer(CONFIG_MAPS, Client(transport), clock)
    task = asyncio.create_task(informer.run())
    await informer.wait_synced()
    await informer.run()
    assert len(transport.lists) == 1
    await cancelled(task)
    assert informer.is_stopped
    await informer.run()
    with pytest.raises(RuntimeError, match="has stopped, so a handler would never be of use"):
        informer.add_handler(lambda _: None)
    with pytest.raises(RuntimeError, match="has stopped, so a index"):
        informer.add_index("x", lambda _: ())


@virtual_time
@pytest.mark.scenario("SI6")
async def test_a_handler_that_never_waits_lets_others_in(clock: VirtualClock) -> None:
    """Working off thousands of buffered events gives the event loop its turn every few hundred."""
    many = [cm(f"a{number}", str(number + 1)) for number in range(2000)]
    informer = informer_on(clock, *many)
    handled: list[str] = []

    async def eager(event: Event) -> None:
        handled.append(event.key)

    registration = informer.add_handler(eager)
    task = asyncio.create_task(informer.run())
    await informer.wait_synced()
    steps = 0
    while not registration.has_synced:
        await settle(1)
        steps += 1
    assert steps >= 10
    assert len(handled) == 2000
    await cancelled(task)
