"""The simulation finds what it is there for: each component that is broken on purpose is caught within some seeds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from kaito_controller.kube.core import LEASES
from kaito_controller.kube.metadata import Object, resource_version
from kaito_controller.machinery import codec
from kaito_controller.machinery.backoff import Backoff
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.cache.event import Event
from kaito_controller.machinery.cache.index import Index
from kaito_controller.machinery.cache.informer import Informer
from kaito_controller.machinery.cache.store import Store
from kaito_controller.machinery.controller.feed import WatchFeed
from kaito_controller.machinery.controller.worker import Worker
from kaito_controller.machinery.election.elector import LeaderElector
from kaito_controller.machinery.events.recorder import EventRecorder
from kaito_controller.machinery.queue.waiting import Entry
from kaito_controller.machinery.queue.workqueue import WorkQueue
from kaito_controller.machinery.reflector import live_events
from kaito_controller.machinery.reflector.reflector import Reflector
from kaito_controller.testing.fake.request import Request
from kaito_controller.testing.simulation.link import Call, Link
from kaito_controller.testing.simulation.playing import play, quiet

WITHIN = 150
"""Seeds in which each has to be found; ten times as many as any needs."""


def found(world: str, *, first: int = 1, within: int = WITHIN) -> str:
    """What the first failing seed says."""
    with quiet():
        for seed in range(first, first + within):
            outcome = play(seed, world)
            if outcome.failure:
                assert f"--seed {seed} --world {world}" in outcome.report()
                return outcome.failure
    return ""


def test_a_list_that_forgets_deletions_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects deleted while no watch was open stay in the store for ever."""

    def replace(self: Store, objects: Iterable[Object], version: str, *, initial: bool = False) -> Sequence[Event]:
        events = [self.put(obj, initial=initial) for obj in objects]
        self.advance(version)
        return events

    monkeypatch.setattr(Store, "replace", replace)
    assert "not like the server" in found("informers")


def test_a_list_that_tells_no_deletions_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is right, and the handlers never hear of what vanished."""
    whole = Store.replace

    def replace(self: Store, objects: Iterable[Object], version: str, *, initial: bool = False) -> Sequence[Event]:
        return [event for event in whole(self, objects, version, initial=initial) if not event.final_state_unknown]

    monkeypatch.setattr(Store, "replace", replace)
    failure = found("informers")
    assert "add up" in failure or "there already" in failure


def test_a_late_handler_that_is_told_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It hears of changes to objects that it has never been told of."""
    whole = Informer.add_handler

    def add_handler(self: Informer, handler: Any, **options: Any) -> Any:
        objects, self.store._objects = self.store._objects, {}
        try:
            return whole(self, handler, **options)
        finally:
            self.store._objects = objects

    monkeypatch.setattr(Informer, "add_handler", add_handler)
    failure = found("informers")
    assert "not there" in failure or "add up" in failure


def test_a_watch_that_goes_back_in_time_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Going on from an old version tells old states again."""
    whole = live_events.LiveEvents.receive

    def receive(self: live_events.LiveEvents, kind: str, obj: Object, version: str) -> bool:
        before = self.version
        enough = whole(self, kind, obj, version)
        self.version = before
        return enough

    monkeypatch.setattr(live_events.LiveEvents, "receive", receive)
    assert "goes back from version" in found("informers")


def test_lines_taken_for_chunks_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that comes in two chunks is no event in either, and is passed over."""

    def feed(self: codec.LineSplitter, chunk: bytes) -> list[bytes]:
        return [line for line in chunk.split(b"\n") if line.startswith(b"{") and line.endswith(b"}}")]

    monkeypatch.setattr(codec.LineSplitter, "feed", feed)
    assert "not like the server" in found("informers")


def test_an_index_that_keeps_the_old_value_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object is found under a label that it had once."""
    monkeypatch.setattr(Index, "_unfile", lambda *_: None)
    assert "index" in found("informers")


def test_a_reflector_without_backoff_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection is tried again at once, and again."""
    monkeypatch.setattr(Backoff, "next_s", lambda _: 0.0)
    assert "hot loop" in found("informers")


def test_a_reflector_that_leaves_its_stream_open_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was opened has to be closed, whatever ends the informer."""

    def stream(self: Link, method: str, path: str, **options: Any) -> Any:
        context = whole(self, method, path, **options)

        class Leaky:
            async def __aenter__(self) -> AsyncIterator[bytes]:
                return await context.__aenter__()

            async def __aexit__(self, *_: object) -> None:
                kept.append(context)

        return Leaky()

    whole, kept = Link.stream, []
    monkeypatch.setattr(Link, "stream", stream)
    assert "leak" in found("informers")


def test_a_reflector_that_never_lists_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its version is too old it asks for it for ever."""

    async def stream_all(self: Reflector) -> None:
        if not self._live.version:
            await self._list_all()

    async def list_all(self: Reflector) -> None:
        if not self._live.version:
            await whole(self)

    whole = Reflector._list_all
    monkeypatch.setattr(Reflector, "_stream_all", stream_all)
    monkeypatch.setattr(Reflector, "_list_all", list_all)
    assert "not like the server" in found("informers")


@pytest.mark.parametrize("world", ["queues", "controllers"])
def test_a_queue_that_hands_a_key_out_twice_is_found(monkeypatch: pytest.MonkeyPatch, world: str) -> None:
    """An item that is added while a worker holds it goes to another worker."""

    def ready(self: WorkQueue[str], entry: Entry[str]) -> None:
        entry.added_at = now = self.clock.monotonic()
        self.metrics.waits(entry.priority)
        self._place(entry, now)

    monkeypatch.setattr(WorkQueue, "_ready", ready)
    assert found(world)


@pytest.mark.parametrize("world", ["queues", "controllers"])
def test_a_queue_that_forgets_what_came_meanwhile_is_found(monkeypatch: pytest.MonkeyPatch, world: str) -> None:
    """What was added while a worker held the item is never handed out."""

    def done(self: WorkQueue[str], item: str) -> None:
        self._held.pop(item, None)
        entry = self._entries.get(item)
        if entry is not None and entry.deadline is None:
            del self._entries[item]

    monkeypatch.setattr(WorkQueue, "done", done)
    assert found(world)


def test_a_queue_that_loses_a_wake_up_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was woken and cancelled at once takes the wake-up with it."""

    async def turn(self: WorkQueue[str]) -> None:
        getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._getters.append(getter)
        await getter

    monkeypatch.setattr(WorkQueue, "_turn", turn)
    assert "an item waits" in found("queues")


def test_a_failure_that_is_not_tried_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reconcile that failed once is forgotten."""
    monkeypatch.setattr(Worker, "_failed", lambda *_: "error")
    assert "not as desired" in found("controllers")


def test_a_cache_that_misses_a_short_life_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that we made, and that was deleted before any list showed it, is missed by nobody: one seed in 600."""
    monkeypatch.setattr(Informer, "expect", lambda *_: None)
    assert "has children" in found("controllers", first=651, within=1500)


def test_a_controller_that_starts_before_its_caches_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first reconciles see a world that is empty."""

    async def at_once(self: Any, *_: Any) -> None:
        return None

    monkeypatch.setattr(Cache, "wait_synced", at_once)
    monkeypatch.setattr(WatchFeed, "wait_synced", at_once)
    assert "before the caches have synced" in found("controllers")


def test_an_elector_that_compares_wall_clocks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that is an hour ahead, every lease looks expired."""

    def has_expired(self: LeaderElector) -> bool:
        spec = (self._observed or {}).get("spec") or {}
        renewed = datetime.fromisoformat(str(spec["renewTime"]))
        return self.clock.now() > renewed + timedelta(seconds=float(spec["leaseDurationSeconds"]))

    monkeypatch.setattr(LeaderElector, "_has_expired", has_expired)
    assert "both act" in found("election")


def test_an_elector_without_deadline_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that was cut off goes on while the next one begins."""
    monkeypatch.setattr(LeaderElector, "leads_until", property(lambda _: float("inf")))
    assert "both act" in found("election")


def test_an_elector_that_overwrites_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a resourceVersion in its write it takes the lease from whoever has just renewed it."""
    whole = Link._request

    def request(self: Link, call: Call) -> Request:
        made = whole(self, call)
        if made.method == "PUT":
            made.body["metadata"]["resourceVersion"] = resource_version(
                self.network.server.get(LEASES, "lease", "default")
            )
        return made

    monkeypatch.setattr(Link, "_request", request)
    assert "both act" in found("election")


def test_a_recorder_that_tries_under_a_new_name_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event whose answer was lost is on the server twice."""
    whole = EventRecorder._create

    async def create(self: EventRecorder, series: Any, event: Object) -> None:
        event["metadata"]["name"] = f"try.{self._stamp():x}"
        await whole(self, series, event)

    monkeypatch.setattr(EventRecorder, "_create", create)
    assert "the server was told of" in found("recorder")
