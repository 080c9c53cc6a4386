"""Objects by key, with indexes: what an informer knows of the world."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from kaito_controller.kube.metadata import Object, key, resource_version, uid
from kaito_controller.machinery.cache.event import Change, Event
from kaito_controller.machinery.cache.index import Index, IndexFunction
from kaito_controller.machinery.cache.mutation import MutationDetector
from kaito_controller.machinery.log import logger

__all__ = ["IndexFunction", "Store", "is_same"]

Unindexed = Callable[[Object, str, Exception], None]
"""Told of an object, an index and what its function raised on the object."""

log = logger(__name__)


class Store:
    """Objects as decoded JSON under `namespace/name`. What it hands out is shared: read-only by agreement.

    It is read by everybody and written by its informer only, always within one step of the event loop, so a reader
    never meets it half changed.

    An index function that fails on an object takes nothing down: the object is kept, found under no value of that
    index, and `unindexed` is told. The function is ours but the content is anybody's.
    """

    def __init__(self, unindexed: Unindexed | None = None, detector: MutationDetector | None = None) -> None:
        self._detector = detector
        self._objects: dict[str, Object] = {}
        self._indexes: dict[str, Index] = {}
        self._resource_version = ""
        self._unindexed = unindexed or _log_unindexed

    @property
    def resource_version(self) -> str:
        """How far the store has seen the resource's history: the version of the last list, event or bookmark (ST5)."""
        return self._resource_version

    @property
    def indexes(self) -> Collection[str]:
        """The names of the indexes."""
        return self._indexes.keys()

    def get(self, key: str) -> Object | None:
        """The object under a key, or None."""
        return self._objects.get(key)

    def list(self) -> list[Object]:
        """All objects."""
        return list(self._objects.values())

    def keys(self) -> Sequence[str]:
        """The keys of all objects."""
        return list(self._objects)

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, key: str) -> bool:
        return key in self._objects

    def by_index(self, index: str, *values: str) -> Sequence[Object]:
        """The objects that an index holds under any of the values, each once, those filed first first.

        Raises:
            LookupError: there is no index of that name.
        """
        return [self._objects[key] for key in self._found(index, values)]

    def index_keys(self, index: str, *values: str) -> Sequence[str]:
        """The keys of the objects that an index holds under any of the values, sorted (ST4).

        Raises:
            LookupError: there is no index of that name.
        """
        return sorted(self._found(index, values))

    def index_values(self, index: str) -> Sequence[str]:
        """The values under which an index holds any object.

        Raises:
            LookupError: there is no index of that name.
        """
        return self._index(index).values()

    def sharing(self, index: str, obj: Object) -> Sequence[Object]:
        """The objects here that share a value of an index with this one, which need not be here itself (ST4).

        Raises:
            LookupError: there is no index of that name.
        """
        return self.by_index(index, *self._index(index).function(obj))

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Add an index; objects already here are indexed too (ST3).

        Raises:
            ValueError: the name is taken by another function.
        """
        self.add_indexes({name: function})

    def add_indexes(self, functions: Mapping[str, IndexFunction]) -> None:
        """Add several indexes, or none of them.

        Raises:
            ValueError: a name is taken by another function.
        """
        for name, function in functions.items():
            known = self._indexes.get(name)
            if known is not None and known.function != function:
                raise ValueError(f"index {name!r}: the name is taken by another function; choose another name")
        fresh = {name: Index(name, function) for name, function in functions.items() if name not in self._indexes}
        for index in fresh.values():
            for object_key, obj in self._objects.items():
                self._file(index, object_key, obj)
        self._indexes |= fresh

    def put(self, obj: Object, *, initial: bool = False) -> Event:
        """Add or replace one object, and tell what that changed; `initial` goes into the event."""
        object_key = key(obj)
        old = self._objects.get(object_key)
        self._objects[object_key] = obj
        if self._detector is not None:
            self._detector.took(object_key, obj)
        for index in self._indexes.values():
            self._file(index, object_key, obj)
        self.advance(resource_version(obj))
        if old is None:
            return Event(change=Change.ADDED, object=obj, initial=initial)
        return Event(change=Change.UPDATED, object=obj, old=old, initial=initial)

    def remove(self, obj: Object) -> Event | None:
        """Remove one object; None when it was not here. Its last state is the one handed in."""
        self.advance(resource_version(obj))
        if self._drop(key(obj)) is None:
            return None
        return Event(change=Change.DELETED, object=obj)

    def forget(self, key: str, version: str) -> Event | None:
        """Remove what is under a key, when its last state is not to be had; None when nothing was here."""
        self.advance(version)
        last = self._drop(key)
        return None if last is None else Event(change=Change.DELETED, object=last, final_state_unknown=True)

    def advance(self, version: str) -> None:
        """Take note of how far the history has been seen."""
        if version:
            self._resource_version = version

    def replace(self, objects: Iterable[Object], version: str, *, initial: bool = False) -> Sequence[Event]:
        """Hold exactly these objects, and tell what that changed: deletions first, then the rest in list order (FQ2).

        An object that was here in the same version is no change. `initial` goes into the events.
        """
        fresh = {key(obj): obj for obj in objects}
        events: list[Event] = []
        for gone in [known for known in self._objects if known not in fresh]:
            event = self.forget(gone, "")
            if event is not None:
                events.append(event)
        for object_key, obj in fresh.items():
            known = self._objects.get(object_key)
            if known is None or not is_same(known, obj):
                events.append(self.put(obj, initial=initial))
        self._resource_version = version
        return events

    def _drop(self, object_key: str) -> Object | None:
        old = self._objects.pop(object_key, None)
        if old is not None:
            if self._detector is not None:
                self._detector.dropped(object_key)
            for index in self._indexes.values():
                index.drop(object_key)
        return old

    def _file(self, index: Index, object_key: str, obj: Object) -> None:
        try:
            index.put(object_key, obj)
        except Exception as error:  # noqa: BLE001 - one odd object must not keep the others from being seen
            self._unindexed(obj, index.name, error)

    def _found(self, index: str, values: Sequence[str]) -> Iterable[str]:
        known = self._index(index)
        if len(values) == 1:
            return known.keys_of(values[0])
        return dict.fromkeys(found for value in values for found in known.keys_of(value))

    def _index(self, name: str) -> Index:
        try:
            return self._indexes[name]
        except KeyError:
            raise LookupError(f"index {name!r}: unknown; this store has {sorted(self._indexes)}") from None


def is_same(old: Object, new: Object) -> bool:
    """Whether both are the same version of the same object."""
    version = resource_version(new)
    return bool(version) and version == resource_version(old) and uid(old) == uid(new)


def _log_unindexed(obj: Object, index: str, error: Exception) -> None:
    log.error("an object cannot be indexed", key=key(obj), index=index, error=repr(error))
