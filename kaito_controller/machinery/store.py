"""Objects by key, with indexes: what an informer knows of the world."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from attrs import define, field

from kaito_controller.kube.metadata import Object, key, resource_version, uid
from kaito_controller.machinery.event import Change, Event

IndexFunction = Callable[[Object], Iterable[str]]
"""The values under which an object is found; none, one or many. It must not raise."""


@define
class _Index:
    function: IndexFunction
    keys: dict[str, dict[str, None]] = field(factory=dict)

    def add(self, key: str, obj: Object) -> None:
        for value in self.function(obj):
            self.keys.setdefault(value, {})[key] = None

    def remove(self, key: str, obj: Object) -> None:
        for value in self.function(obj):
            keys = self.keys.get(value)
            if keys is not None:
                keys.pop(key, None)
                # Values come and go with the objects; empty sets would pile up (ST2).
                if not keys:
                    del self.keys[value]


class Store:
    """Objects as decoded JSON under `namespace/name`. What it hands out is shared: read-only by agreement.

    It is read by everybody and written by its informer only, always within one step of the event loop, so a reader
    never meets it half changed.
    """

    def __init__(self) -> None:
        self._objects: dict[str, Object] = {}
        self._indexes: dict[str, _Index] = {}
        self._resource_version = ""

    @property
    def resource_version(self) -> str:
        """How far the store has seen the resource's history: the version of the last list, event or bookmark (ST5)."""
        return self._resource_version

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

    def by_index(self, index: str, value: str) -> Sequence[Object]:
        """The objects that an index holds under a value, oldest entry first.

        Raises:
            LookupError: there is no index of that name.
        """
        return [self._objects[key] for key in self._index(index).keys.get(value, ())]

    def index_values(self, index: str) -> Sequence[str]:
        """The values under which an index holds any object."""
        return list(self._index(index).keys)

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Add an index; objects already here are indexed too (ST3).

        Raises:
            ValueError: the name is taken by another function.
        """
        known = self._indexes.get(name)
        if known is not None:
            if known.function is function:
                return
            raise ValueError(f"index {name!r}: the name is taken by another function; choose another name")
        index = _Index(function)
        for object_key, obj in self._objects.items():
            index.add(object_key, obj)
        self._indexes[name] = index

    def put(self, obj: Object) -> Event:
        """Add or replace one object, and tell what that changed."""
        object_key = key(obj)
        old = self._objects.get(object_key)
        if old is not None:
            for index in self._indexes.values():
                index.remove(object_key, old)
        self._objects[object_key] = obj
        for index in self._indexes.values():
            index.add(object_key, obj)
        self.advance(resource_version(obj))
        return Event(change=Change.ADDED if old is None else Change.UPDATED, object=obj, old=old)

    def remove(self, obj: Object) -> Event | None:
        """Remove one object; None when it was not here. Its last state is the one handed in."""
        self.advance(resource_version(obj))
        if self._drop(key(obj)) is None:
            return None
        return Event(change=Change.DELETED, object=obj)

    def advance(self, version: str) -> None:
        """Take note of how far the history has been seen."""
        if version:
            self._resource_version = version

    def replace(self, objects: Iterable[Object], version: str) -> Sequence[Event]:
        """Hold exactly these objects, and tell what that changed: deletions first, then the rest in list order (FQ2).

        An object that was here in the same version is no change.
        """
        fresh = {key(obj): obj for obj in objects}
        events: list[Event] = []
        for gone in [known for known in self._objects if known not in fresh]:
            last = self._drop(gone)
            if last is not None:
                events.append(Event(change=Change.DELETED, object=last, final_state_unknown=True))
        for object_key, obj in fresh.items():
            known = self._objects.get(object_key)
            if known is None or not _is_same(known, obj):
                events.append(self.put(obj))
        self._resource_version = version
        return events

    def _drop(self, object_key: str) -> Object | None:
        old = self._objects.pop(object_key, None)
        if old is not None:
            for index in self._indexes.values():
                index.remove(object_key, old)
        return old

    def _index(self, name: str) -> _Index:
        try:
            return self._indexes[name]
        except KeyError:
            raise LookupError(f"index {name!r}: unknown; this store has {sorted(self._indexes)}") from None


def _is_same(old: Object, new: Object) -> bool:
    version = resource_version(new)
    return bool(version) and version == resource_version(old) and uid(old) == uid(new)
