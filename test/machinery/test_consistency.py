"""Reads that are never older than our own writes, at any number of objects."""

from __future__ import annotations

import time

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.cache.consistency import WRITTEN_S, Writes
from kaito_controller.machinery.client.client import Client
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.transport import ScriptedTransport, Stream, event, listing, obj


@pytest.mark.scenario("EX5")
def test_a_write_costs_the_same_among_many() -> None:
    """Remembering a write looks at no other but those that it forgets: 20,000 take a fraction of a second."""
    clock = VirtualClock()
    writes = Writes(clock)
    started = time.process_time()
    for number in range(1, 20_001):
        writes.note(CONFIG_MAPS, obj(CONFIG_MAPS, f"a{number}", str(number)))
    assert time.process_time() - started < 4.0, "quadratic: it would take a minute"
    assert len(writes) == 20_000
    clock.advance(WRITTEN_S + 1)
    writes.note(CONFIG_MAPS, obj(CONFIG_MAPS, "last", "30000"))
    assert len(writes) == 1


@pytest.mark.scenario("EX5")
def test_a_later_write_to_the_same_object_is_remembered_a_minute_of_its_own() -> None:
    """An object written again moves behind those written since, so what is forgotten first is what is oldest."""
    clock = VirtualClock()
    writes = Writes(clock)
    for at, name, version in ((0, "a", "1"), (10, "b", "2"), (50, "a", "3")):
        clock.advance_to(at)
        writes.note(CONFIG_MAPS, obj(CONFIG_MAPS, name, version))
    assert len(writes) == 2
    clock.advance_to(75)
    writes.note(CONFIG_MAPS, obj(CONFIG_MAPS, "c", "4"))
    assert len(writes) == 2, "the write to b is over, though one to a came first"
    clock.advance_to(111)
    writes.note(CONFIG_MAPS, obj(CONFIG_MAPS, "c", "5"))
    assert len(writes) == 1


@virtual_time
@pytest.mark.scenario("CC4", "EX5")
async def test_a_read_right_after_a_create_is_told_to_be_stale(clock: VirtualClock) -> None:
    """A create's answer is not in the cache yet: the cache says so instead of giving the absence for the truth."""
    created = obj(CONFIG_MAPS, "new", "20")
    streams = [Stream([3.0, event("ADDED", created)], stays=True)]
    cache = Cache(Client(ScriptedTransport(clock, [listing(CONFIG_MAPS, "10")], streams)), clock)
    informer = cache.informer(CONFIG_MAPS)
    cache.start()
    await cache.wait_synced()
    cache.written(CONFIG_MAPS, created)
    assert informer.store.get("default/new") is None
    assert cache.is_stale(CONFIG_MAPS, "default/new")
    await clock.sleep(4)
    assert informer.store.get("default/new") == created
    assert not cache.is_stale(CONFIG_MAPS, "default/new")
    await cache.stop()
