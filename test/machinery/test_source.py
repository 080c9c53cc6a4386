"""Predicates and mappings: which events make a request, and whose."""

from __future__ import annotations

from typing import Any

from kaito_controller.kube.core import CONFIG_MAPS, NODES, PODS, STATEFUL_SETS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery import predicates
from kaito_controller.machinery.controller import Request
from kaito_controller.machinery.event import Change, Event
from kaito_controller.machinery.source import Watch, enqueue_owner, enqueue_self
from kaito_controller.testing.transport import obj


def cm(version: str, **metadata: Any) -> Object:
    made = obj(CONFIG_MAPS, "a", version)
    made["metadata"] |= metadata
    return made


def update(old: Object, new: Object) -> Event:
    return Event(change=Change.UPDATED, object=new, old=old)


def test_predicates_filter_updates_only() -> None:
    """PR1, PR3: what appears or vanishes passes; of updates only those with the difference asked for."""
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


def test_an_object_made_again_unseen_is_not_taken_for_the_old_one() -> None:
    """SI10: deleted and made again while the watch was broken is one update; a new object has to be looked at."""
    same = {"generation": 1, "labels": {"a": "b"}}
    event = update(cm("1", uid="one", **same), cm("9", uid="two", **same))
    for check in (predicates.generation_changed, predicates.labels_changed, predicates.annotations_changed):
        assert check(event)


def test_predicates_combine_and_stop_at_the_first_answer() -> None:
    """PR2: the predicates of one watch are and-ed; the first false stops."""
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


def test_the_owner_is_found_by_group_and_kind_in_any_version() -> None:
    """PR5: the controller only, whatever version it was made under; another group or kind is nobody."""
    to_requests = enqueue_owner(STATEFUL_SETS)
    assert list(to_requests(owned(("apps/v1beta2", "StatefulSet", "s", True)))) == [Request("ns", "s")]
    assert list(to_requests(owned(("apps/v1", "StatefulSet", "s", False)))) == []
    assert list(to_requests(owned(("other.io/v1", "StatefulSet", "s", True)))) == []
    assert list(to_requests(owned(("apps/v1", "Deployment", "s", True)))) == []
    assert list(enqueue_owner(NODES)(owned(("v1", "Node", "n", True)))) == [Request("", "n")]


def test_an_object_that_changes_owners_wakes_both_once() -> None:
    """PR5, PR6: old and new state are mapped, without doubles."""
    watch = Watch(PODS, enqueue_owner(STATEFUL_SETS))
    before, after = owned(("apps/v1", "StatefulSet", "s", True)), owned(("apps/v1", "StatefulSet", "t", True))
    assert list(watch.requests(update(before, after))) == [Request("ns", "s"), Request("ns", "t")]
    assert list(watch.requests(update(before, before))) == [Request("ns", "s")]


def test_a_request_is_its_key() -> None:
    """The key of a request is that of the store, namespaced or not."""
    assert Request("ns", "a").key == "ns/a"
    assert Request("", "a").key == "a"
    assert Request.from_key("ns/a") == Request("ns", "a")
    assert Request.of(obj(NODES, "n", "1")) == Request("", "n")
