"""What wakes a controller: which kinds it watches, which changes count, and whose reconcile they ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import frozen

from kaito_controller.kube.metadata import Object, namespace, owner_references
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.cache.event import Event
from kaito_controller.machinery.cache.unfit import DATA_ERRORS
from kaito_controller.machinery.controller.predicates import Predicate
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.reconcile.request import Request

log = logger(__name__)

ToRequests = Callable[[Object], Iterable[Request]]
"""Whose reconcile an object asks for."""


@frozen
class Watch:
    """One kind that a controller watches.

    An update maps both states, so that an object which moved from one owner to another wakes both (PR5, PR6).
    Predicates are and-ed, the first that says no ends the asking. Namespace and selectors narrow it at the server,
    and `metadata_only` has the server send no more of each object than its metadata.
    """

    resource: Resource
    to_requests: ToRequests
    predicates: tuple[Predicate, ...] = ()
    namespace: str | None = None
    label_selector: str = ""
    field_selector: str = ""
    metadata_only: bool = False

    def requests(self, event: Event) -> Iterable[Request]:
        """The requests that an event makes, each once."""
        return requests(event, self.predicates, self.to_requests)


def enqueue_self(obj: Object) -> Iterable[Request]:
    """The object itself."""
    return (Request.of(obj),)


def enqueue_owner(owner: Resource, *, controllers_only: bool = True) -> ToRequests:
    """The object's owners of that kind, whatever version they were made under (PR5).

    Args:
        owner: the kind. Its name is looked for in the object's namespace unless the kind is cluster-scoped.
        controllers_only: leave out owners that do not control the object.
    """

    def to_requests(obj: Object) -> Iterable[Request]:
        found = []
        space = namespace(obj) if owner.namespaced else ""
        for reference in owner_references(obj):
            version = str(reference.get("apiVersion", ""))
            group, slash, rest = version.partition("/")
            if "/" in rest:
                log.error("an owner's apiVersion is none; the rest of the object's owners is skipped", found=version)
                break
            if reference.get("kind") != owner.kind or (group if slash else "") != owner.group:
                continue
            if reference.get("controller") or not controllers_only:
                found.append(Request(space, str(reference.get("name", ""))))
        return found

    return to_requests


def requests(event: Event, predicates: Iterable[Predicate], to_requests: ToRequests) -> Iterable[Request]:
    """The requests that an event makes, each once: none when a predicate says no or there is no object (PR4).

    Raises:
        Exception: the object as it is now cannot be mapped.
    """
    if not event.object or not event.object.get("metadata"):
        log.error("an event without an object or its metadata is dropped", change=event.change.value)
        return ()
    for passes in predicates:
        if not _passes(passes, event):
            return ()
    if event.old is None or event.old is event.object:
        return dict.fromkeys(to_requests(event.object))
    return dict.fromkeys((*_mapped(to_requests, event.old), *to_requests(event.object)))


def _passes(predicate: Predicate, event: Event) -> bool:
    try:
        return predicate(event)
    except DATA_ERRORS:
        # Old or new has content of another form: what cannot be compared has to be looked at.
        return True


def _mapped(to_requests: ToRequests, old: Object) -> tuple[Request, ...]:
    try:
        return tuple(to_requests(old))
    except DATA_ERRORS:
        # Content that could not be read was nobody's; what took its place must not suffer for it.
        return ()
