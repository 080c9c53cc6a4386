"""What wakes a controller: which kinds it watches, which changes count, and whose reconcile they ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import frozen

from kaito_controller.kube.metadata import Object, controller_of, namespace
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.event import Event
from kaito_controller.machinery.predicates import Predicate
from kaito_controller.machinery.request import Request

ToRequests = Callable[[Object], Iterable[Request]]
"""Whose reconcile an object asks for."""


@frozen
class Watch:
    """One kind that a controller watches.

    An update maps both states, so that an object which moved from one owner to another wakes both (PR5, PR6).
    Predicates are and-ed, the first that says no ends the asking. Namespace and selectors narrow it at the server.
    """

    resource: Resource
    to_requests: ToRequests
    predicates: tuple[Predicate, ...] = ()
    namespace: str | None = None
    label_selector: str = ""
    field_selector: str = ""

    def requests(self, event: Event) -> Iterable[Request]:
        """The requests that an event makes, each once."""
        if not all(passes(event) for passes in self.predicates):
            return ()
        return dict.fromkeys(request for state in event.states for request in self.to_requests(state))


def enqueue_self(obj: Object) -> Iterable[Request]:
    """The object itself."""
    return (Request.of(obj),)


def enqueue_owner(owner: Resource) -> ToRequests:
    """The object's controller, if it is of that kind; the version it was made under does not matter (PR5)."""

    def to_requests(obj: Object) -> Iterable[Request]:
        reference = controller_of(obj)
        if reference is None or reference.get("kind") != owner.kind:
            return ()
        group, slash, _ = str(reference.get("apiVersion", "")).partition("/")
        if (group if slash else "") != owner.group:
            return ()
        return (Request(namespace(obj) if owner.namespaced else "", str(reference.get("name", ""))),)

    return to_requests
