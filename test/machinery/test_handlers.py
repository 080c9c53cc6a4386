"""Filter handlers: what begins to pass appears, what ceases to pass vanishes."""

from __future__ import annotations

import asyncio

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, labels
from kaito_controller.machinery.cache.event import Change, Event
from kaito_controller.machinery.cache.handlers import filtered
from kaito_controller.machinery.cache.informer import Informer
from kaito_controller.machinery.client.client import Client
from kaito_controller.testing.clock import VirtualClock, cancelled, virtual_time
from kaito_controller.testing.transport import ScriptedTransport, Stream, event, listing, obj

pytestmark = pytest.mark.scenario("SI12")


def cm(name: str, version: str, colour: str) -> Object:
    made = obj(CONFIG_MAPS, name, version)
    made["metadata"]["labels"] = {"colour": colour}
    return made


def is_red(item: Object) -> bool:
    return labels(item).get("colour") == "red"


def update(old: Object, new: Object) -> Event:
    return Event(change=Change.UPDATED, object=new, old=old)


def test_an_update_becomes_what_it_is_to_one_who_sees_only_what_passes() -> None:
    """Both pass: update. New only: add. Old only: delete, with the state that passed. Neither: nothing."""
    seen: list[Event] = []
    handler = filtered(is_red, seen.append)
    red, redder, blue = cm("a", "1", "red"), cm("a", "2", "red"), cm("a", "3", "blue")
    for one in (update(red, redder), update(blue, red), update(red, blue), update(blue, blue)):
        handler(one)
    assert [(one.change, one.object, one.old) for one in seen] == [
        (Change.UPDATED, redder, red),
        (Change.ADDED, red, None),
        (Change.DELETED, red, None),
    ]


def test_a_tombstone_is_judged_by_its_last_known_state() -> None:
    """Which may be none, and is then passed over; adds and deletes are judged by their object."""
    seen: list[Event] = []
    handler = filtered(is_red, seen.append)
    red, blue = cm("a", "1", "red"), cm("b", "1", "blue")
    told = [
        Event(change=Change.ADDED, object=red, initial=True),
        Event(change=Change.ADDED, object=blue),
        Event(change=Change.DELETED, object=red, final_state_unknown=True),
        Event(change=Change.DELETED, object=blue, final_state_unknown=True),
    ]
    for one in told:
        handler(one)
    handler(Event(change=Change.DELETED, object={}, final_state_unknown=True))
    assert seen == [told[0], told[2]]


@virtual_time
async def test_a_filtered_coroutine_handler_stays_one(clock: VirtualClock) -> None:
    """It keeps its buffer and task, and hears what its filter lets through of a live informer."""
    streams = [Stream([event("MODIFIED", cm("a", "12", "blue")), event("DELETED", cm("b", "13", "blue"))], stays=True)]
    answers = [listing(CONFIG_MAPS, "10", cm("a", "1", "red"), cm("b", "2", "blue"))]
    informer = Informer(CONFIG_MAPS, Client(ScriptedTransport(clock, answers, streams)), clock)
    seen: list[tuple[str, Change]] = []

    async def slow(event: Event) -> None:
        await clock.sleep(1)
        seen.append((event.key, event.change))

    registration = informer.add_handler(filtered(is_red, slow))
    task = asyncio.create_task(informer.run())
    await informer.wait_synced()
    assert not registration.has_synced
    await clock.sleep(10)
    assert seen == [("default/a", Change.ADDED), ("default/a", Change.DELETED)]
    await cancelled(task)
