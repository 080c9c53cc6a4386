"""What wakes a controller: which kinds it watches, which changes count, and whose reconcile they ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from attrs import frozen

from kaito_controller.kube.metadata import (
    Object,
    annotations,
    controller_of,
    generation,
    is_deleting,
    labels,
    namespace,
)
from kaito_controller.kube.metadata import resource_version as version_of
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.request import Request

Predicate = Callable[[Object, Object], bool]
"""Whether a change from the old to the new state counts. Asked of updates only: what comes and goes always counts."""

ToRequests = Callable[[Object], Iterable[Request]]
"""Whose reconcile an object asks for."""


class EventHandler(Protocol):
    """What an informer tells its listeners, in order, after its store has changed. Calls must not block."""

    def on_add(self, obj: Object, *, is_in_initial_list: bool) -> None:
        """An object is there: new, or there already when the listener came."""
        ...

    def on_update(self, old: Object, new: Object) -> None:
        """An object changed; after a gap in the watch the two may be different objects of one name (SI10)."""
        ...

    def on_delete(self, obj: Object) -> None:
        """An object is gone; ``obj`` is the last state that was seen, which may be older than its deletion (PR4)."""
        ...


@frozen
class Watch:
    """One kind that a controller watches.

    An update maps both states, so that an object which moved from one owner to another wakes both (PR5, PR6).
    Predicates are and-ed. The selectors narrow the watch at the server.
    """

    resource: Resource
    to_requests: ToRequests
    predicates: tuple[Predicate, ...] = ()
    label_selector: str = ""
    field_selector: str = ""


@frozen
class Enqueuer:
    """The handler that turns what an informer tells into items of a workqueue."""

    watch: Watch
    enqueue: Callable[[Request], None]

    def on_add(self, obj: Object, *, is_in_initial_list: bool) -> None:  # noqa: ARG002 - there is one priority
        """Ask for the reconcile of what came."""
        self._ask(obj)

    def on_update(self, old: Object, new: Object) -> None:
        """Ask for the reconcile of what changed, if the change counts."""
        if all(counts(old, new) for counts in self.watch.predicates):
            self._ask(old, new)

    def on_delete(self, obj: Object) -> None:
        """Ask for the reconcile of what went."""
        self._ask(obj)

    def _ask(self, *states: Object) -> None:
        for request in dict.fromkeys(request for state in states for request in self.watch.to_requests(state)):
            self.enqueue(request)


def enqueue_self(obj: Object) -> Iterable[Request]:
    """The object itself."""
    return (Request.of(obj),)


def enqueue_owner(owner: Resource) -> ToRequests:
    """The object's controller, if it is of that kind; the version it was made under does not matter (PR5)."""

    def to_requests(obj: Object) -> Iterable[Request]:
        reference = controller_of(obj)
        if reference is None or reference.get("kind") != owner.kind:
            return ()
        group = str(reference.get("apiVersion", "")).rpartition("/")[0]
        if group != owner.group:
            return ()
        return (Request(namespace(obj) if owner.namespaced else "", str(reference.get("name", ""))),)

    return to_requests


def generation_changed(old: Object, new: Object) -> bool:
    """The spec changed, or deletion began."""
    return generation(old) != generation(new) or is_deleting(old) != is_deleting(new)


def labels_changed(old: Object, new: Object) -> bool:
    """A label changed."""
    return labels(old) != labels(new)


def annotations_changed(old: Object, new: Object) -> bool:
    """An annotation changed."""
    return annotations(old) != annotations(new)


def resource_version_changed(old: Object, new: Object) -> bool:
    """Anything changed: only a resync's repetition does not count."""
    return version_of(old) != version_of(new)


def any_of(*predicates: Predicate) -> Predicate:
    """At least one of them counts the change (PR2)."""

    def counts(old: Object, new: Object) -> bool:
        return any(predicate(old, new) for predicate in predicates)

    return counts
