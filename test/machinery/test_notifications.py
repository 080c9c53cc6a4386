"""What handlers are told of what the reflector delivers: everything, once, in order, and never before it is stored."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from random import Random

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, key, resource_version
from kaito_controller.machinery.cache.event import Change, Event
from kaito_controller.machinery.cache.informer import Informer
from kaito_controller.machinery.cache.mutation import VARIABLE
from kaito_controller.machinery.cache.transform import Transform, strip
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.controller.source import Watch, enqueue_self
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.queue.workqueue import WorkQueue
from kaito_controller.testing.clock import VirtualClock, cancelled, virtual_time
from kaito_controller.testing.transport import ScriptedTransport, Stream, event, listing, obj

Told = tuple[Change, str, str]


def cm(name: str, version: str, **metadata: object) -> Object:
    made = obj(CONFIG_MAPS, name, version)
    made["metadata"] |= metadata
    return made


def informer_of(transform: Transform = strip, metrics: Metrics | None = None) -> Informer:
    """An informer that is fed by the test in the reflector's place."""
    clock = VirtualClock()
    return Informer(CONFIG_MAPS, Client(ScriptedTransport(clock)), clock, transform=transform, metrics=metrics)


def listed(informer: Informer, objects: Iterable[Object], version: str) -> None:
    """A list, as the reflector hands it over."""
    kept = [informer.keep(item) for item in objects]
    informer.replace([item for item in kept if item is not None], version)


def told_by(informer: Informer) -> list[Told]:
    told: list[Told] = []
    informer.add_handler(lambda event: told.append((event.change, event.key, resource_version(event.object))))
    return told


@pytest.mark.scenario("FQ1")
def test_every_change_is_told_as_it_came() -> None:
    """Nothing is merged: an object that flickers is told each time, between the others as they came."""
    informer = informer_of()
    told = told_by(informer)
    informer.replace([], "10")
    for version in range(11, 17, 3):
        informer.changed(cm("a", str(version)))
        informer.changed(cm("b", str(version + 1)))
        informer.deleted(cm("a", str(version + 2)))
    assert told == [
        (Change.ADDED, "default/a", "11"),
        (Change.ADDED, "default/b", "12"),
        (Change.DELETED, "default/a", "13"),
        (Change.ADDED, "default/a", "14"),
        (Change.UPDATED, "default/b", "15"),
        (Change.DELETED, "default/a", "16"),
    ]


@pytest.mark.scenario("FQ2", "PR4", "SI10", "ST5")
def test_a_list_is_stored_before_it_is_told() -> None:
    """Whoever is told of its first change sees all of it; deletions come first, as tombstones with the last state."""
    informer = informer_of()
    informer.replace([cm("a", "1"), cm("b", "2"), cm("c", "3")], "10")
    events: list[Event] = []
    seen: list[tuple[list[str], str]] = []

    def look(event: Event) -> None:
        events.append(event)
        seen.append((sorted(informer.store.keys()), informer.store.resource_version))

    informer.add_handler(look)
    del events[:], seen[:]
    again = cm("c", "15", uid="another")
    informer.replace([again, cm("d", "14"), cm("b", "2")], "20")
    assert [(one.change, one.key, one.final_state_unknown, one.old) for one in events] == [
        (Change.DELETED, "default/a", True, None),
        (Change.UPDATED, "default/c", False, cm("c", "3")),
        (Change.ADDED, "default/d", False, None),
    ]
    assert events[0].object == cm("a", "1")
    assert seen == [(["default/b", "default/c", "default/d"], "20")] * 3


@pytest.mark.scenario("FQ3")
def test_what_was_deleted_is_not_deleted_again_and_what_a_list_lacks_is() -> None:
    """Deleted by the watch, then lacking in a list: one delete. Seen by the watch alone, then lacking: one, too."""
    informer = informer_of()
    told = told_by(informer)
    informer.replace([cm("a", "1")], "10")
    informer.deleted(cm("a", "11"))
    informer.replace([], "12")
    informer.deleted(cm("a", "11"))
    informer.changed(cm("b", "13"))
    informer.replace([], "14")
    assert told == [
        (Change.ADDED, "default/a", "1"),
        (Change.DELETED, "default/a", "11"),
        (Change.ADDED, "default/b", "13"),
        (Change.DELETED, "default/b", "13"),
    ]


@pytest.mark.scenario("FQ5")
def test_a_transform_runs_once_over_each_object_and_over_no_tombstone() -> None:
    """Once per object that comes; never over what is known already: tombstones, resyncs, late handlers."""
    runs: list[str] = []

    def counting(item: Object) -> Object:
        runs.append(resource_version(item))
        return {**item, "kept": True}

    informer = informer_of(counting)
    listed(informer, [cm("a", "1"), cm("b", "2")], "10")
    informer.changed(cm("a", "11"))
    told = told_by(informer)
    listed(informer, [cm("a", "11")], "12")
    informer.deleted(cm("a", "13"))
    assert runs == ["1", "2", "11", "11", "13"]
    assert [change for change, _, _ in told] == [Change.ADDED, Change.ADDED, Change.DELETED, Change.DELETED]


@pytest.mark.scenario("FQ5", "ST6")
def test_a_transform_that_fails_rejects_that_object_alone() -> None:
    """In a list or by itself: the others are stored and told, and of the odd one the last good state is kept.

    client-go refuses the whole list and lists again without end; and it loses the deletion.
    """
    metrics = Metrics()

    def picky(item: Object) -> Object:
        if "poison" in item:
            raise KeyError("data")
        return item

    informer = informer_of(picky, metrics)
    told = told_by(informer)
    listed(informer, [cm("a", "1"), {**cm("b", "2"), "poison": 1}, cm("c", "3")], "10")
    assert informer.has_synced
    assert sorted(informer.store.keys()) == ["default/a", "default/c"]
    informer.changed({**cm("a", "11"), "poison": 1})
    assert informer.store.get("default/a") == cm("a", "1")
    assert informer.store.resource_version == "11"
    listed(informer, [{**cm("a", "12"), "poison": 1}, cm("c", "3")], "20")
    assert informer.store.get("default/a") == cm("a", "1")
    informer.deleted({**cm("a", "21"), "poison": 1})
    assert told == [
        (Change.ADDED, "default/a", "1"),
        (Change.ADDED, "default/c", "3"),
        (Change.DELETED, "default/a", "1"),
    ]
    assert metrics.registry.get_sample_value("informer_unfit_objects_total", {"name": "ConfigMap"}) == 2


@pytest.mark.scenario("ST6", "FQ5")
def test_what_has_no_name_or_gets_another_is_rejected() -> None:
    """An object without a name cannot be kept under one; a transform may not give it another. The rest goes on."""
    renaming = informer_of(lambda item: {**item, "metadata": {"name": "other"}} if item["metadata"].get("x") else item)
    for informer in (informer_of(), renaming):
        nameless: list[Object] = [{"kind": "ConfigMap"}, {"metadata": None}, {"metadata": {"name": ""}}]
        listed(informer, [*nameless, cm("a", "1")], "10")
        assert list(informer.store.keys()) == ["default/a"]
    renaming.changed(cm("b", "2", x="y"))
    assert list(renaming.store.keys()) == ["default/a"]


@pytest.mark.scenario("FQ6")
async def test_synced_means_that_the_first_list_is_stored_and_told() -> None:
    """Not while handlers are being told; at once when a change came before any list."""
    informer = informer_of()
    during: list[bool] = []
    registration = informer.add_handler(lambda _: during.append(informer.has_synced or registration.has_synced))
    assert not informer.has_synced
    informer.replace([cm("a", "1"), cm("b", "2")], "10")
    assert during == [False, False]
    assert informer.has_synced
    assert registration.has_synced
    for first in (lambda each: each.changed(cm("a", "1")), lambda each: each.deleted(cm("a", "1"))):
        early = informer_of()
        first(early)
        assert early.has_synced
    empty = informer_of()
    empty.replace([], "10")
    assert empty.has_synced


@virtual_time
@pytest.mark.scenario("FQ8")
async def test_a_storm_lets_others_in_and_keeps_first_and_later_apart(clock: VirtualClock) -> None:
    """Thousands of events in one chunk are applied in bounded steps; only what came with the first list says so."""
    storm = b"".join(event("MODIFIED", cm(f"a{number % 7}", str(100 + number))) for number in range(3000))
    transport = ScriptedTransport(
        clock, [listing(CONFIG_MAPS, "10", cm("a0", "1"))], [Stream([1.0, storm], stays=True)]
    )
    informer = Informer(CONFIG_MAPS, Client(transport), clock, rng=Random(1))
    events: list[Event] = []
    turns: Counter[int] = Counter()
    turn = 0

    async def tick() -> None:
        nonlocal turn
        while len(events) < 3001:
            turn += 1
            await clock.sleep(0)

    def note(event: Event) -> None:
        events.append(event)
        turns[turn] += 1
        if len(events) == 2:
            tickers.append(asyncio.create_task(tick()))

    tickers: list[asyncio.Task[None]] = []
    informer.add_handler(note)
    task = asyncio.create_task(informer.run())
    await clock.sleep(10)
    assert len(events) == 3001
    assert max(turns.values()) <= 1000, "client-go's own bound of a batch"
    assert [one.initial for one in events] == [True] + [False] * 3000
    assert [int(resource_version(one.object)) for one in events[1:]] == list(range(100, 3100))
    await cancelled(task)


@pytest.mark.scenario("FQ10")
async def test_an_object_that_changes_again_while_it_waits_keeps_its_place() -> None:
    """From event to queue: the second change neither adds a request nor sends the object to the end."""
    informer = informer_of()
    queue: WorkQueue[object] = WorkQueue(VirtualClock(), name="q")
    watch = Watch(CONFIG_MAPS, enqueue_self)

    def enqueue(event: Event) -> None:
        for request in watch.requests(event):
            queue.add(request)

    informer.add_handler(enqueue)
    informer.replace([], "10")
    for name, version in (("a", "11"), ("b", "12"), ("a", "13"), ("c", "14"), ("b", "15")):
        informer.changed(cm(name, version))
    got = [await queue.get() for _ in range(len(queue))]
    assert [str(getattr(request, "name", "")) for request in got] == ["a", "b", "c"]


@pytest.mark.scenario("ST7")
def test_handlers_and_readers_share_the_stored_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is copied on the way, with or without the detector that watches over it."""
    for value in ("true", "false"):
        monkeypatch.setenv(VARIABLE, value)
        informer = informer_of()
        events: list[Event] = []
        informer.add_handler(events.append)
        mine = cm("a", "1")
        informer.changed(mine)
        assert informer.store.get(key(mine)) is events[0].object is mine
