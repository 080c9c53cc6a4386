"""Which events are worth a reconcile. Each filters updates only: all else always passes (PR1).

An object that was deleted and made again while nobody watched comes as an update, too (SI10): it always passes. An
update that lacks its old or new object is a defect of whoever sent it: it is logged and dropped.
"""

from __future__ import annotations as _annotations

from collections.abc import Callable

from kaito_controller.kube.metadata import Object, annotations, generation, labels, resource_version, uid
from kaito_controller.machinery.cache.event import Change, Event
from kaito_controller.machinery.log import logger

Predicate = Callable[[Event], bool]

log = logger(__name__)


def generation_changed(event: Event) -> bool:
    """The desired state changed, or deletion was asked for; not the status, labels or annotations."""
    return _differs(event, generation)


def resource_version_changed(event: Event) -> bool:
    """Anything changed."""
    return _differs(event, resource_version)


def labels_changed(event: Event) -> bool:
    """A label changed."""
    return _differs(event, labels)


def annotations_changed(event: Event) -> bool:
    """An annotation changed."""
    return _differs(event, annotations)


def any_of(*predicates: Predicate) -> Predicate:
    """Passes what any of them passes; the first that does ends the asking."""
    return lambda event: any(predicate(event) for predicate in predicates)


def all_of(*predicates: Predicate) -> Predicate:
    """Passes what all of them pass; the first that does not ends the asking."""
    return lambda event: all(predicate(event) for predicate in predicates)


def none_of(*predicates: Predicate) -> Predicate:
    """Passes what none of them passes."""
    return lambda event: not any(predicate(event) for predicate in predicates)


def _differs(event: Event, aspect: Callable[[Object], object]) -> bool:
    if event.change is not Change.UPDATED:
        return True
    old, new = event.old, event.object
    if not old or not new:
        log.error("an update without an old or a new object is dropped", has_old=bool(old), has_new=bool(new))
        return False
    return aspect(old) != aspect(new) or uid(old) != uid(new)
