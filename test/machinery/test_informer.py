"""The shared informer: one store, many handlers, each told of everything once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, key, resource_version
from kaito_controller.machinery.cache.event import Change, Event
from kaito_controller.machinery.cache.informer import Informer
from kaito_controller.machinery.cache.transform import LAST_APPLIED
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.errors import ApiConnectionError, ApiError
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.testing.clock import VirtualClock, cancelled, run, virtual_time
from kaito_controller.testing.transport import (
    ScriptedTransport,
    Stream,
    error,
    event,
    gone,
    initial_events_end,
    listing,
    obj,
    refused,
)


def cm(name: str, version: str) -> Object:
    return obj(CONFIG_MAPS, name, version)


def page(version: str, *objects: Object) -> Object:
    return listing(CONFIG_MAPS, version, *objects)


def informer_on(clock: VirtualClock, transport: ScriptedTransport, metrics: Metrics | None = None) -> Informer:
    return Informer(CONFIG_MAPS, Client(transport), clock, rng=Random(1), metrics=metrics)


def noting(told: list[tuple[str, str, bool]]) -> Callable[[Event], None]:
    return lambda event: told.append((event.change.value, key(event.object), event.initial))


@virtual_time
@pytest.mark.scenario("SI2", "SI3")
async def test_a_late_handler_hears_of_each_object_once(clock: VirtualClock) -> None:
    """What is there comes as initial adds, then the changes; nothing twice, nothing left out."""
    streams = [Stream([5.0, event("ADDED", cm("b", "12"))], stays=True)]
    informer = informer_on(clock, ScriptedTransport(clock, [page("10", cm("a", "1"))], streams))
    early: list[tuple[str, str, bool]] = []
    late: list[tuple[str, str, bool]] = []
    registration = informer.add_handler(noting(early))
    assert not registration.has_synced
    task = asyncio.create_task(informer.run())
    await informer.wait_synced()
    assert registration.has_synced
    informer.add_handler(noting(late))
    await clock.sleep(10)
    assert early == late == [("ADDED", "default/a", True), ("ADDED", "default/b", False)]
    await cancelled(task)


@virtual_time
@pytest.mark.scenario("SI7")
async def test_a_handler_that_fails_is_told_of_the_next_event_all_the_same(clock: VirtualClock) -> None:
    """Logged and counted; other handlers and the store do not notice."""
    metrics, told = Metrics(), list[tuple[str, str, bool]]()

    def brittle(event: Event) -> None:
        noting(told)(event)
        raise RuntimeError("cannot")

    informer = informer_on(clock, ScriptedTransport(clock, [page("10", cm("a", "1"), cm("b", "2"))]), metrics)
    informer.add_handler(brittle)
    other: list[tuple[str, str, bool]] = []
    informer.add_handler(noting(other))
    task = asyncio.create_task(informer.run())
    await informer.wait_synced()
    assert told == other
    assert len(informer.store) == 2
    assert metrics.registry.get_sample_value("informer_handler_errors_total", {"name": "ConfigMap"}) == 2
    await cancelled(task)


@virtual_time
@pytest.mark.scenario("SI4")
async def test_a_removed_handler_hears_nothing_more(clock: VirtualClock) -> None:
    """Removal is idempotent; the same handler added twice is told twice."""
    told: list[tuple[str, str, bool]] = []
    handler = noting(told)
    streams = [Stream([5.0, event("ADDED", cm("b", "12"))], stays=True)]
    informer = informer_on(clock, ScriptedTransport(clock, [page("10", cm("a", "1"))], streams))
    first = informer.add_handler(handler)
    informer.add_handler(handler)
    task = asyncio.create_task(informer.run())
    await informer.wait_synced()
    first.remove()
    first.remove()
    await clock.sleep(10)
    assert told == [("ADDED", "default/a", True)] * 2 + [("ADDED", "default/b", False)]
    await cancelled(task)


@virtual_time
@pytest.mark.scenario("FQ2", "PR4", "SI10")
async def test_a_deletion_missed_by_the_watch_is_told_as_a_tombstone(clock: VirtualClock) -> None:
    """Vanished between two lists; a recreated name is one update with another UID."""
    recreated = cm("b", "15")
    recreated["metadata"]["uid"] = "another"
    transport = ScriptedTransport(
        clock, [page("10", cm("a", "1"), cm("b", "2")), page("20", recreated)], [Stream([error(410, "Expired")])]
    )
    informer = informer_on(clock, transport)
    events: list[Event] = []
    informer.add_handler(events.append)
    task = asyncio.create_task(informer.run())
    await clock.sleep(5)
    vanished, updated = events[2:]
    assert (vanished.change, key(vanished.object), vanished.final_state_unknown) == (Change.DELETED, "default/a", True)
    assert (updated.change, updated.old, updated.object) == (Change.UPDATED, cm("b", "2"), recreated)
    await cancelled(task)


@virtual_time
async def test_the_store_shows_what_a_handler_is_told(clock: VirtualClock) -> None:
    """A handler that reads the store sees the change it was called for."""
    streams = [Stream([event("MODIFIED", cm("a", "12")), event("DELETED", cm("a", "13"))], stays=True)]
    informer = informer_on(clock, ScriptedTransport(clock, [page("10", cm("a", "1"))], streams))
    stored: list[str | None] = []

    def look(_: Event) -> None:
        found = informer.store.get("default/a")
        stored.append(resource_version(found) if found else None)

    informer.add_handler(look)
    task = asyncio.create_task(informer.run())
    await clock.sleep(1)
    assert stored == ["1", "12", None]
    await cancelled(task)


@virtual_time
@pytest.mark.scenario("FQ5", "CC3")
async def test_field_ownership_is_not_kept(clock: VirtualClock) -> None:
    """ManagedFields and kubectl's copy of the manifest are dropped before the store sees them."""
    heavy = cm("a", "1")
    heavy["metadata"] |= {"managedFields": [{"manager": "x"}], "annotations": {LAST_APPLIED: "{}", "kept": "yes"}}
    informer = informer_on(clock, ScriptedTransport(clock, [page("10", heavy)]))
    task = asyncio.create_task(informer.run())
    await informer.wait_synced()
    stored = informer.store.get("default/a")
    assert stored is not None
    assert stored["metadata"].get("managedFields") is None
    assert stored["metadata"]["annotations"] == {"kept": "yes"}
    await cancelled(task)


FAULTS = ["none", "close", "reset", "410", "500", "garbage", "refused", "429"]
HISTORY = st.lists(
    st.tuples(st.sampled_from("abc"), st.booleans(), st.sampled_from(FAULTS), st.floats(0, 20)), max_size=25
)


class Server:
    """A history of ConfigMaps, served through scripted calls with a fault after each change."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.version = 10
        self.log: list[tuple[int, bytes]] = []
        self.floor = 10

    def change(self, name: str, *, there: bool) -> None:
        self.version += 1
        if there:
            kind = "MODIFIED" if name in self.objects else "ADDED"
            self.objects[name] = cm(name, str(self.version))
            self.log.append((self.version, event(kind, self.objects[name])))
        elif name in self.objects:
            del self.objects[name]
            self.log.append((self.version, event("DELETED", cm(name, str(self.version)))))

    def list(self) -> Object:
        return page(str(self.version), *self.objects.values())


class FaultyTransport(ScriptedTransport):
    """Serves the history as it is now, and breaks streams in the way it is told to."""

    def __init__(self, clock: VirtualClock, server: Server) -> None:
        super().__init__(clock)
        self._server = server
        self._fault = "none"
        self._stirred = asyncio.Event()

    def break_with(self, fault: str) -> None:
        self._fault = fault
        if fault == "410":
            self._server.floor = self._server.version
        self._stirred.set()
        self._stirred = asyncio.Event()

    async def request(self, *_: object, **__: object) -> Object:
        await self.clock.sleep(0)
        if self._fault == "refused":
            raise refused()
        return self._server.list()

    @asynccontextmanager
    async def stream(
        self, *_: object, query: Mapping[str, str] | None = None, **__: object
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        await self.clock.sleep(0)
        asked = query or {}
        version = int(asked.get("resourceVersion", self._server.version))
        if self._fault == "refused":
            raise refused()
        if self._fault == "429":
            raise ApiError(429, "TooManyRequests")
        if asked.get("sendInitialEvents"):
            yield self._everything()
        elif version < self._server.floor:
            raise gone()
        else:
            yield self._events(version)

    async def _everything(self) -> AsyncIterator[bytes]:
        version = self._server.version
        for item in list(self._server.objects.values()):
            yield event("ADDED", item)
            await self.clock.sleep(0.01)
            if self._fault == "close":
                return
        yield initial_events_end(CONFIG_MAPS, str(version))
        async for line in self._events(version):
            yield line

    async def _events(self, sent: int) -> AsyncIterator[bytes]:
        while True:
            for version, line in self._server.log:
                if version > sent:
                    yield line
                    sent = version
            stirred = self._stirred
            match self._fault:
                case "close":
                    return
                case "reset":
                    raise ApiConnectionError("reset by peer")
                case "410" | "500":
                    yield error(int(self._fault), "Expired" if self._fault == "410" else "InternalError")
                case "garbage":
                    yield b"<html>\n"
            await stirred.wait()


@settings(max_examples=80, deadline=None)
@given(history=HISTORY, seed=st.integers(0, 2**16))
@pytest.mark.scenario("SI13")
def test_the_store_converges_whatever_breaks(history: list[tuple[str, bool, str, float]], seed: int) -> None:
    """Under any faults the store ends as the server is, and per key the versions seen only rise."""

    async def scenario(clock: VirtualClock) -> None:
        server = Server()
        transport = FaultyTransport(clock, server)
        informer = Informer(CONFIG_MAPS, Client(transport), clock, rng=Random(seed))
        versions: dict[str, int] = {}

        def watch(seen: Event) -> None:
            version = int(resource_version(seen.object))
            if seen.final_state_unknown:
                return
            assert version > versions.get(key(seen.object), 0)
            versions[key(seen.object)] = version

        informer.add_handler(watch)
        task = asyncio.create_task(informer.run())
        for name, there, fault, pause in history:
            server.change(name, there=there)
            transport.break_with(fault)
            await clock.sleep(pause)
        transport.break_with("none")
        await clock.sleep(300)
        stored = {key(item): resource_version(item) for item in informer.store.list()}
        assert {key(item): resource_version(item) for item in server.objects.values()} == stored
        await cancelled(task)

    run(scenario)
