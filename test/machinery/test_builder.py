"""The builder: what makes a controller, and what is refused before anything runs."""

from __future__ import annotations

import asyncio

import pytest

from kaito_controller.kube.core import CONFIG_MAPS, NODES, SERVICES
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.cache.event import Change, Event
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.controller.builder import Builder, BuilderError
from kaito_controller.machinery.controller.predicates import generation_changed
from kaito_controller.machinery.controller.source import Watch
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.reconcile.request import Request
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.controlled import Acting, HeldFeed, cm, done
from kaito_controller.testing.transport import ScriptedTransport, listing, obj


def owned(name: str, *, controller: bool) -> Object:
    service = obj(SERVICES, name, "1")
    service["metadata"]["ownerReferences"] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": f"of-{name}", "uid": "u", "controller": controller}
    ]
    return service


@pytest.mark.scenario("CT16")
@virtual_time
async def test_a_controller_from_its_parts(clock: VirtualClock) -> None:
    """Its own kind, the owners of what it owns (the controlling ones unless told), and what is mapped to it."""
    metrics = Metrics()
    transport = ScriptedTransport(clock)
    cache = Cache(Client(transport), clock, metrics)
    node = obj(NODES, "n", "1")
    transport.answers.extend(
        [
            listing(CONFIG_MAPS, "10", cm("a")),
            listing(SERVICES, "10", owned("mine", controller=True), owned("other", controller=False)),
            listing(NODES, "10", node),
        ]
    )
    reconciler = Acting(clock, done)
    controller = (
        Builder()
        .reconciles(CONFIG_MAPS)
        .owns(SERVICES)
        .watches(Watch(NODES, lambda _: [Request("default", "by node")]), HeldFeed(clock, "more"))
        .build(reconciler, cache, clock, metrics, workers=2)
    )
    assert controller.name == "configmap"
    stop = asyncio.Event()
    cache.start()
    running = asyncio.create_task(controller.run(stop))
    await clock.sleep(5)
    stop.set()
    await running
    await cache.stop()
    assert {key for _, key in reconciler.calls} == {"default/a", "default/of-mine", "default/by node"}


@pytest.mark.scenario("CT16")
def test_a_controller_reconciles_one_kind() -> None:
    """For() once: requests do not say of which kind they are."""
    with pytest.raises(BuilderError, match="reconciles ConfigMap already"):
        Builder().reconciles(CONFIG_MAPS).reconciles(SERVICES)


@pytest.mark.scenario("CT16")
def test_children_need_a_parent() -> None:
    """Owns() needs For()."""
    with pytest.raises(BuilderError, match=r"owns\(Service\): owned by which kind"):
        Builder("children").owns(SERVICES).reconciles(CONFIG_MAPS)


@pytest.mark.scenario("CT16")
def test_a_controller_watches_something_and_has_a_name() -> None:
    """At least one watch; without a kind of its own, a name is asked for."""
    clock, metrics = VirtualClock(), Metrics()
    cache = Cache(Client(ScriptedTransport(clock)), clock, metrics)
    with pytest.raises(BuilderError, match="nothing to watch"):
        Builder("idle").build(Acting(clock, done), cache, clock, metrics)
    nameless = Builder().watches(Watch(NODES, lambda _: []))
    with pytest.raises(BuilderError, match="needs a name"):
        nameless.build(Acting(clock, done), cache, clock, metrics)


@pytest.mark.scenario("CT16")
def test_filters_of_all_watches_come_before_those_of_each() -> None:
    """A global filter is asked first, whenever it was given, and when it says no the watch's own is not asked."""
    asked: list[str] = []

    def passing(name: str, *, answer: bool):
        def predicate(_: Event) -> bool:
            asked.append(name)
            return answer

        return predicate

    builder = Builder().reconciles(CONFIG_MAPS, passing("own", answer=True))
    event = Event(change=Change.ADDED, object=cm("a"))
    (watch,) = builder.filtered(passing("first", answer=True)).feeds
    assert isinstance(watch, Watch)
    assert list(watch.requests(event)) == [Request("default", "a")]
    assert asked == ["first", "own"]
    asked.clear()
    (watch,) = builder.filtered(passing("second", answer=False)).feeds
    assert isinstance(watch, Watch)
    assert list(watch.requests(event)) == []
    assert asked == ["first", "second"]


@pytest.mark.scenario("CT16")
def test_a_selector_narrows_a_watch_and_predicates_are_kept() -> None:
    """What is said of a kind is what its watch asks the server and each event for."""
    made = Builder().reconciles(CONFIG_MAPS, generation_changed, label_selector="a").owns(SERVICES, label_selector="b")
    first, second = made.feeds
    assert isinstance(first, Watch)
    assert isinstance(second, Watch)
    assert (first.label_selector, first.predicates) == ("a", (generation_changed,))
    assert (second.label_selector, second.resource) == ("b", SERVICES)
