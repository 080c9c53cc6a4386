"""Predicates and mappings: which events make a request, and whose."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from kaito_controller.kube.core import CONFIG_MAPS, NODES, PODS, STATEFUL_SETS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.cache.event import Change, Event
from kaito_controller.machinery.controller import predicates
from kaito_controller.machinery.controller.controller import Request
from kaito_controller.machinery.controller.source import Watch, enqueue_owner, enqueue_self
from kaito_controller.testing.transport import obj


def cm(version: str, **metadata: Any) -> Object:
    made = obj(CONFIG_MAPS, "a", version)
    made["metadata"] |= metadata
    return made


def update(old: Object, new: Object) -> Event:
    return Event(change=Change.UPDATED, object=new, old=old)


@pytest.mark.scenario("PR1", "PR3")
def test_predicates_filter_updates_only() -> None:
    """What appears or vanishes passes; of updates only those with the difference asked for."""
    checks = {
        predicates.generation_changed: {"generation": 2},
        predicates.labels_changed: {"labels": {"a": "b"}},
        predicates.annotations_changed: {"annotations": {"a": "b"}},
    }
    for check, difference in checks.items():
        assert check(Event(change=Change.ADDED, object=cm("1")))
        assert check(Event(change=Change.DELETED, object=cm("1")))
        assert check(update(cm("1"), cm("2", **difference)))
        assert not check(update(cm("1"), cm("2")))
    assert predicates.resource_version_changed(update(cm("1"), cm("2")))
    assert not predicates.resource_version_changed(update(cm("1"), cm("1")))


@pytest.mark.scenario("SI10")
def test_an_object_made_again_unseen_is_not_taken_for_the_old_one() -> None:
    """Deleted and made again while the watch was broken is one update; a new object has to be looked at."""
    same = {"generation": 1, "labels": {"a": "b"}}
    event = update(cm("1", uid="one", **same), cm("9", uid="two", **same))
    for check in (predicates.generation_changed, predicates.labels_changed, predicates.annotations_changed):
        assert check(event)


@pytest.mark.scenario("PR2")
def test_predicates_combine_and_stop_at_the_first_answer() -> None:
    """The predicates of one watch are and-ed; the first false stops."""
    asked: list[str] = []

    def saying(name: str, answer: bool) -> predicates.Predicate:
        def predicate(_: Event) -> bool:
            asked.append(name)
            return answer

        return predicate

    event = Event(change=Change.ADDED, object=cm("1"))
    watch = Watch(CONFIG_MAPS, enqueue_self, (saying("no", False), saying("never", True)))
    assert list(watch.requests(event)) == []
    assert predicates.any_of(saying("yes", True), saying("never", True))(event)
    assert not predicates.all_of(saying("no", False), saying("never", True))(event)
    assert predicates.none_of(saying("no", False))(event)
    assert asked == ["no", "yes", "no", "no"]


def owned(*owners: tuple[str, str, str, bool]) -> Object:
    references = [
        {"apiVersion": version, "kind": kind, "name": name, "controller": controller}
        for version, kind, name, controller in owners
    ]
    return obj(PODS, "p", "1", namespace="ns") | {
        "metadata": {"name": "p", "namespace": "ns", "ownerReferences": references}
    }


@pytest.mark.scenario("PR5")
def test_the_owner_is_found_by_group_and_kind_in_any_version() -> None:
    """The controller only, whatever version it was made under; another group or kind is nobody."""
    to_requests = enqueue_owner(STATEFUL_SETS)
    assert list(to_requests(owned(("apps/v1beta2", "StatefulSet", "s", True)))) == [Request("ns", "s")]
    assert list(to_requests(owned(("apps/v1", "StatefulSet", "s", False)))) == []
    assert list(to_requests(owned(("other.io/v1", "StatefulSet", "s", True)))) == []
    assert list(to_requests(owned(("apps/v1", "Deployment", "s", True)))) == []
    assert list(enqueue_owner(NODES)(owned(("v1", "Node", "n", True)))) == [Request("", "n")]


@pytest.mark.scenario("PR5", "PR6")
def test_an_object_that_changes_owners_wakes_both_once() -> None:
    """Old and new state are mapped, without doubles."""
    watch = Watch(PODS, enqueue_owner(STATEFUL_SETS))
    before, after = owned(("apps/v1", "StatefulSet", "s", True)), owned(("apps/v1", "StatefulSet", "t", True))
    assert list(watch.requests(update(before, after))) == [Request("ns", "s"), Request("ns", "t")]
    assert list(watch.requests(update(before, before))) == [Request("ns", "s")]


@pytest.mark.scenario("PR1", "PR4")
@pytest.mark.parametrize("lacking", [{}, None, {"metadata": {}}, {"metadata": None}, {"kind": "Pod"}])
def test_an_event_without_an_object_is_dropped_with_a_log(lacking: Any) -> None:
    """An update without old or new, a tombstone without object or metadata: nobody is woken, and the log says why."""
    with structlog.testing.capture_logs() as logs:
        whole = Event(change=Change.UPDATED, object=cm("1"), old=None)
        assert not predicates.generation_changed(whole)
        assert not predicates.resource_version_changed(Event(change=Change.UPDATED, object={}, old=cm("1")))
        watch = Watch(CONFIG_MAPS, enqueue_self)
        assert list(watch.requests(Event(change=Change.DELETED, object=lacking, final_state_unknown=True))) == []
    assert [entry["log_level"] for entry in logs] == ["error"] * 3


@pytest.mark.scenario("PR4")
def test_a_tombstone_asks_for_the_reconcile_of_its_last_known_object() -> None:
    """It passes every predicate, and says that the state may not be the last."""
    tombstone = Event(
        change=Change.DELETED, object=owned(("apps/v1", "StatefulSet", "s", True)), final_state_unknown=True
    )
    watch = Watch(PODS, enqueue_owner(STATEFUL_SETS), (predicates.generation_changed, predicates.labels_changed))
    assert list(watch.requests(tombstone)) == [Request("ns", "s")]


@pytest.mark.scenario("PR5")
def test_owners_that_do_not_control_are_found_when_asked_for() -> None:
    """All owners of the kind, each once; a broken apiVersion ends the reading of that object, not of others."""
    shared = owned(("apps/v1", "StatefulSet", "s", True), ("apps/v1", "StatefulSet", "t", False))
    of_all = Watch(PODS, enqueue_owner(STATEFUL_SETS, controllers_only=False))
    assert list(of_all.requests(update(shared, shared))) == [Request("ns", "s"), Request("ns", "t")]
    broken = owned(
        ("apps/v1", "StatefulSet", "s", True),
        ("a/b/c", "StatefulSet", "x", True),
        ("apps/v1", "StatefulSet", "t", True),
    )
    assert list(enqueue_owner(STATEFUL_SETS)(broken)) == [Request("ns", "s")]
    assert list(of_all.requests(update(broken, shared))) == [Request("ns", "s"), Request("ns", "t")]


@pytest.mark.scenario("PR6")
def test_a_mapping_runs_on_both_states_and_gives_each_request_once() -> None:
    """Union of old and new in order; of a resync, where both are one, it runs once."""
    runs: list[str] = []

    def by_labels(item: Object) -> list[Request]:
        runs.append(item["metadata"]["resourceVersion"])
        return [Request("", name) for name in item["metadata"].get("labels", {})]

    watch = Watch(CONFIG_MAPS, by_labels)
    old, new = cm("1", labels={"a": "", "b": ""}), cm("2", labels={"b": "", "c": ""})
    assert [request.name for request in watch.requests(update(old, new))] == ["a", "b", "c"]
    assert [request.name for request in watch.requests(update(new, new))] == ["b", "c"]
    assert runs == ["1", "2", "2"]


def test_what_cannot_be_compared_is_looked_at() -> None:
    """An old state of another form neither hides the new one by a predicate nor by its mapping."""
    odd, good = cm("1", labels="red"), cm("2", labels={"name": "x"})

    def of_label(item: Object) -> list[Request]:
        return [Request("", item["metadata"]["labels"]["name"])]

    def colour_changed(event: Event) -> bool:
        return event.old is None or event.old["metadata"]["labels"].get("c") != event.object["metadata"]["labels"].get(
            "c"
        )

    watch = Watch(CONFIG_MAPS, of_label, (colour_changed,))
    assert list(watch.requests(update(odd, good))) == [Request("", "x")]
    assert list(watch.requests(update(good, good))) == []
    with pytest.raises(TypeError):
        watch.requests(update(good, odd))


def test_a_request_is_its_key() -> None:
    """The key of a request is that of the store, namespaced or not."""
    assert Request("ns", "a").key == "ns/a"
    assert Request("", "a").key == "a"
    assert Request.from_key("ns/a") == Request("ns", "a")
    assert Request.of(obj(NODES, "n", "1")) == Request("", "n")
