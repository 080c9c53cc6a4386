"""Which events are worth a reconcile. Each filters updates only: what appears or vanishes always passes (PR1)."""

from __future__ import annotations as _annotations

from collections.abc import Callable

from kaito_controller.kube.metadata import annotations, generation, labels, resource_version
from kaito_controller.machinery.event import Event

Predicate = Callable[[Event], bool]


def generation_changed(event: Event) -> bool:
    """The desired state changed, or deletion was asked for; not the status, labels or annotations."""
    return event.old is None or generation(event.old) != generation(event.object)


def resource_version_changed(event: Event) -> bool:
    """Anything changed."""
    return event.old is None or resource_version(event.old) != resource_version(event.object)


def labels_changed(event: Event) -> bool:
    """A label changed."""
    return event.old is None or labels(event.old) != labels(event.object)


def annotations_changed(event: Event) -> bool:
    """An annotation changed."""
    return event.old is None or annotations(event.old) != annotations(event.object)


def any_of(*predicates: Predicate) -> Predicate:
    """Passes what any of them passes; the first that does ends the asking."""
    return lambda event: any(predicate(event) for predicate in predicates)


def all_of(*predicates: Predicate) -> Predicate:
    """Passes what all of them pass; the first that does not ends the asking."""
    return lambda event: all(predicate(event) for predicate in predicates)


def none_of(*predicates: Predicate) -> Predicate:
    """Passes what none of them passes."""
    return lambda event: not any(predicate(event) for predicate in predicates)
