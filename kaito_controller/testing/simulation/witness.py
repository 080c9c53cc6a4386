"""A handler that holds its informer to its promises."""

from __future__ import annotations

from collections.abc import Callable

from kaito_controller.kube.metadata import Object, key, resource_version
from kaito_controller.machinery.cache.event import Change, Event
from kaito_controller.machinery.cache.resource_version import is_older
from kaito_controller.machinery.cache.store import Store
from kaito_controller.testing.simulation.history import History


class Witness:
    """Replays notifications into a dict of its own, and complains about each that cannot be.

    A notification must fit the ones before it, tell a state that the server had, and per object never go back (SI13).

    Args:
        store: for a handler that is told in the very step of a change: the store that has to show it then.
        then: done after each notification; it may add and remove handlers.
    """

    def __init__(
        self,
        name: str,
        history: History,
        violate: Callable[[str], None],
        *,
        metadata_only: bool = False,
        store: Store | None = None,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.objects: dict[str, Object] = {}
        self.events = 0
        self._history = history
        self._violate = violate
        self._metadata_only = metadata_only
        self._store = store
        self._then = then
        self.is_removed = False
        self._last: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        """Take one notification."""
        self.events += 1
        name = key(event.object)
        known = self.objects.get(name)
        self._check_fit(event, name, known)
        self._check_order(event, name)
        if event.change is Change.DELETED:
            self.objects.pop(name, None)
        else:
            self.check_truth(event.object, name)
            self.objects[name] = event.object
        if self._store is not None:
            self._check_store(event, name, self._store)
        self._then()

    def check_truth(self, obj: Object, name: str) -> None:
        """The server had the object in this very state."""
        version = resource_version(obj)
        truth = self._history.state(name, version)
        if truth is None:
            self._violate(f"{self.name}: {name} never had the version {version}")
        elif not self._is_same(obj, truth):
            self._violate(f"{self.name}: {name} at version {version} is told as {obj}, and was {truth}")

    def _check_store(self, event: Event, name: str, store: Store) -> None:
        if self.is_removed:
            self._violate(f"{self.name}: is told of {name} after its removal")
        stored = store.get(name)
        if stored != (None if event.change is Change.DELETED else event.object):
            self._violate(f"{self.name}: {event.change.value} of {name} is told, the store shows {stored}")

    def _check_fit(self, event: Event, name: str, known: Object | None) -> None:
        told = f"{self.name}: {event.change.value} of {name}"
        if event.change is Change.ADDED and known is not None:
            self._violate(f"{told}, which is there already")
        elif event.change is not Change.ADDED and known is None:
            self._violate(f"{told}, which is not there")
        elif event.change is Change.UPDATED and event.old != known:
            self._violate(f"{told}: the old state is not the one told before")

    def _check_order(self, event: Event, name: str) -> None:
        version, last = resource_version(event.object), self._last.get(name)
        if last is not None and is_older(version, last):
            self._violate(f"{self.name}: {event.change.value} of {name} goes back from version {last} to {version}")
        self._last[name] = version

    def _is_same(self, told: Object, truth: Object) -> bool:
        head = {name: value for name, value in truth["metadata"].items() if name != "managedFields"}
        if told.get("metadata") != head:
            return False
        return self._metadata_only or all(
            value == truth.get(name) for name, value in told.items() if name != "metadata"
        )
