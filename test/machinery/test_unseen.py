"""What we made and somebody deleted before any list or watch could show it."""

from __future__ import annotations

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.cache.event import Change, Event
from kaito_controller.machinery.cache.informer import Informer
from kaito_controller.machinery.client.client import Client
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.transport import ScriptedTransport, obj


def watched(clock: VirtualClock, **question: str) -> tuple[Cache, Informer, list[Event]]:
    """A cache whose informer has synced at version 10, and what its handler is told from then on."""
    cache = Cache(Client(ScriptedTransport(clock)), clock)
    informer = cache.informer(CONFIG_MAPS, **question)
    informer.replace([], "10")
    told: list[Event] = []
    informer.add_handler(told.append)
    return cache, informer, told


@pytest.mark.scenario("FQ3", "PR4")
@virtual_time
async def test_a_list_without_what_we_made_tells_of_its_deletion(clock: VirtualClock) -> None:
    """Made at 11, deleted by somebody else at 12, and then a list at 13: the controller hears that it is gone."""
    cache, informer, told = watched(clock)
    made = obj(CONFIG_MAPS, "made", "11")
    cache.written(CONFIG_MAPS, made)
    informer.replace([], "13")
    assert told == [Event(change=Change.DELETED, object=made, final_state_unknown=True)]
    informer.replace([], "14")
    assert len(told) == 1


@virtual_time
async def test_an_answer_that_comes_after_the_list_tells_at_once(clock: VirtualClock) -> None:
    """The list overtook the answer to the write."""
    cache, informer, told = watched(clock)
    informer.replace([], "13")
    cache.written(CONFIG_MAPS, obj(CONFIG_MAPS, "made", "11"))
    assert [event.change for event in told] == [Change.DELETED]


@virtual_time
async def test_a_list_from_before_the_write_tells_nothing(clock: VirtualClock) -> None:
    """It cannot know of the object; the next one does."""
    cache, informer, told = watched(clock)
    made = obj(CONFIG_MAPS, "made", "12")
    cache.written(CONFIG_MAPS, made)
    informer.replace([], "11")
    assert told == []
    informer.replace([made], "13")
    assert [event.change for event in told] == [Change.ADDED]


@virtual_time
async def test_what_was_shown_is_not_told_twice(clock: VirtualClock) -> None:
    """An object that the watch has shown goes the usual way."""
    cache, informer, told = watched(clock)
    made = obj(CONFIG_MAPS, "made", "11")
    cache.written(CONFIG_MAPS, made)
    informer.changed(made)
    informer.replace([], "13")
    assert [event.change for event in told] == [Change.ADDED, Change.DELETED]


@pytest.mark.parametrize("question", [{"namespace": "elsewhere"}, {"label_selector": "app=one"}])
@virtual_time
async def test_who_would_not_show_it_tells_nothing(clock: VirtualClock, question: dict[str, str]) -> None:
    """An informer of another namespace, or one whose selector may keep the object out, knows nothing of it."""
    cache, informer, told = watched(clock, **question)
    cache.written(CONFIG_MAPS, obj(CONFIG_MAPS, "made", "11"))
    informer.replace([], "13")
    assert told == []


@pytest.mark.scenario("FQ3")
@pytest.mark.parametrize("by_list", [True, False])
@virtual_time
async def test_an_answer_that_comes_after_the_whole_life_tells_nothing(clock: VirtualClock, by_list: bool) -> None:
    """The watch has shown the object come and go before the create's answer arrived: there is no second deletion."""
    cache, informer, told = watched(clock)
    made = obj(CONFIG_MAPS, "made", "11")
    informer.changed(made)
    if by_list:
        informer.replace([], "13")
    else:
        informer.deleted(obj(CONFIG_MAPS, "made", "12"))
    cache.written(CONFIG_MAPS, made)
    informer.replace([], "14")
    assert [event.change for event in told] == [Change.ADDED, Change.DELETED]


@pytest.mark.scenario("FQ3")
@virtual_time
async def test_the_write_that_ends_an_object_announces_none(clock: VirtualClock) -> None:
    """Taking the last finalizer off answers with the object as it was: that it is gone is no news to anybody."""
    cache, informer, told = watched(clock)
    ended = obj(CONFIG_MAPS, "made", "12")
    ended["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cache.written(CONFIG_MAPS, ended)
    informer.replace([], "14")
    assert told == []
