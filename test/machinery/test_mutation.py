"""The mutation detector: whoever changes what a cache holds is found out, wherever in the object it is."""

from __future__ import annotations

import asyncio

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.cache.event import Event
from kaito_controller.machinery.cache.informer import Informer
from kaito_controller.machinery.cache.mutation import RECENT_S, CacheMutatedError, MutationDetector, detector
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.manager.manager import Manager
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.testing.clock import VirtualClock, cancelled, virtual_time
from kaito_controller.testing.transport import ScriptedTransport, Stream, event, listing, obj

pytestmark = pytest.mark.scenario("ST7")


def cm(name: str, version: str, **fields: object) -> Object:
    return obj(CONFIG_MAPS, name, version, **fields)


def informer_on(clock: VirtualClock, *objects: Object, streams: list[Stream] | None = None) -> Informer:
    transport = ScriptedTransport(clock, [listing(CONFIG_MAPS, "10", *objects)], streams or [])
    return Informer(CONFIG_MAPS, Client(transport), clock)


@virtual_time
async def test_a_handler_that_writes_into_an_object_ends_the_informer(
    clock: VirtualClock, mutation_detectors: list[MutationDetector]
) -> None:
    """Within a second of the change the informer fails, and says which object and which field."""

    def careless(event: Event) -> None:
        event.object["data"]["list"][1]["b"] = "changed"

    informer = informer_on(clock, cm("a", "1", data={"list": [1, {"b": "as it came"}]}))
    informer.add_handler(careless)
    with pytest.raises(CacheMutatedError, match=r"ConfigMap default/a: data\.list\[1\]\.b was changed"):
        await informer.run()
    assert clock.monotonic() <= 1.0
    mutation_detectors.clear()


@virtual_time
async def test_an_operator_that_changes_a_cached_object_stops(
    clock: VirtualClock, mutation_detectors: list[MutationDetector]
) -> None:
    """The manager ends with the error: nobody may act on what somebody has tampered with."""
    transport = ScriptedTransport(clock, [listing(CONFIG_MAPS, "10", cm("a", "1", data={"a": "b"}))])
    cache = Cache(Client(transport), clock)
    cache.informer(CONFIG_MAPS).add_handler(lambda event: event.object["data"].clear())
    with pytest.raises(CacheMutatedError, match=r"ConfigMap default/a: data\.a was changed"):
        await Manager(cache, clock, Metrics()).run(asyncio.Event())
    assert clock.monotonic() < 5
    mutation_detectors.clear()


@virtual_time
async def test_a_change_is_found_when_the_object_is_replaced(
    clock: VirtualClock, mutation_detectors: list[MutationDetector]
) -> None:
    """What changed long after it came is compared once more when its successor comes."""
    later = RECENT_S + 60
    streams = [Stream([later, event("MODIFIED", cm("a", "20"))], stays=True)]
    informer = informer_on(clock, cm("a", "1"), streams=streams)
    running = asyncio.create_task(informer.run())
    await clock.sleep(later - 1)
    stored = informer.store.get("default/a")
    assert stored is not None
    stored["metadata"]["labels"] = {"mine": "yes"}
    with pytest.raises(CacheMutatedError, match=r"metadata\.labels was changed"):
        await running
    assert clock.monotonic() == pytest.approx(later, abs=1.1)
    mutation_detectors.clear()


@virtual_time
async def test_reading_is_no_change(clock: VirtualClock) -> None:
    """Hours of reads, deletions and new versions raise nothing; an idle cache arms no timer."""
    streams = [Stream([5.0, event("MODIFIED", cm("a", "12")), 3600.0, event("DELETED", cm("a", "13"))], stays=True)]
    informer = informer_on(clock, cm("a", "1"), streams=streams)
    informer.add_handler(lambda _: None)
    task = asyncio.create_task(informer.run())
    await clock.sleep(2 * 3600)
    assert not task.done()
    await cancelled(task)


def test_it_is_on_in_every_test_and_off_elsewhere() -> None:
    """The environment decides, by client-go's variable; all that a test makes is verified at its end."""
    clock = VirtualClock()
    assert detector(clock, "ConfigMap") is not None
    assert detector(clock, "ConfigMap", {}) is None
    assert detector(clock, "ConfigMap", {"KUBE_CACHE_MUTATION_DETECTOR": "false"}) is None


def test_a_test_that_changes_a_cached_object_fails_at_its_end(mutation_detectors: list[MutationDetector]) -> None:
    """What the fixture of every suite asks is this: an object changed in the test's last line is found, too."""
    clock = VirtualClock()
    informer = Informer(CONFIG_MAPS, Client(ScriptedTransport(clock)), clock)
    informer.changed(cm("a", "1", data={"a": 1}))
    informer.changed(cm("b", "2", data={"a": 1}))
    [watching] = mutation_detectors
    watching.verify()
    stored = informer.store.get("default/b")
    assert stored is not None
    stored["data"]["a"] = True
    with pytest.raises(CacheMutatedError, match=r"default/b: data\.a"):
        watching.verify()
    mutation_detectors.clear()


def test_taken_out_and_put_back_is_no_change(mutation_detectors: list[MutationDetector]) -> None:
    """The order of keys is no content, and objects that JSON cannot write are compared by value."""
    clock = VirtualClock()
    watching = MutationDetector(clock, "ConfigMap")
    plain, odd = cm("a", "1", data={"x": 1, "y": 2}), cm("b", "2", data={"x": Exception})
    watching.took("default/a", plain)
    watching.took("default/b", odd)
    plain["data"]["x"] = plain["data"].pop("x")
    watching.verify()
    odd["data"]["z"] = 1
    with pytest.raises(CacheMutatedError, match=r"default/b: data\.z"):
        watching.verify()
    mutation_detectors.clear()
