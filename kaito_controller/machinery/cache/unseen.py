"""Objects that we made and that no list or watch has shown yet.

Made by us, deleted by somebody else, and then a list instead of a watch: neither state is ever shown, so no event would
tell the controller that its child is missing, and nothing would make it look again. That deletion is told here, as
client-go tells of a key that was queued but never stored (FQ3).

An answer that arrives after the watch has shown the object come and go tells nothing: which UIDs have gone lately is
remembered. Nor does one to a write that ended the object, by its last finalizer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from kaito_controller.kube.metadata import Object, is_deleting, key, resource_version, uid
from kaito_controller.machinery.cache.resource_version import is_comparable, is_older
from kaito_controller.machinery.cache.store import Store

REMEMBERED: Final = 1024
"""UIDs kept of what has gone; an answer is late by milliseconds."""


class Unseen:
    """What the answers to our own writes told before the store did; for one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._objects: dict[str, Object] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._objects)

    def note(self, obj: Object) -> Object | None:
        """Take the answer to a write; returned if the store is past it already without the object."""
        name = key(obj)
        if name in self._store or not is_comparable(resource_version(obj)):
            return None
        if is_deleting(obj) or uid(obj) in self._gone:
            return None
        if self._is_passed(obj):
            return obj
        self._objects[name] = obj
        return None

    def shown(self, name: str) -> None:
        """An event has told of the object."""
        if self._objects:
            self._objects.pop(name, None)

    def ended(self, obj: Object) -> None:
        """An event has told that the object is gone."""
        self.shown(key(obj))
        self._gone[uid(obj)] = None
        if len(self._gone) > REMEMBERED:
            self._gone.popitem(last=False)

    def vanished(self) -> Sequence[Object]:
        """After a list: the objects that it is past and does not have."""
        if not self._objects:
            return ()
        gone = [obj for name, obj in self._objects.items() if name not in self._store and self._is_passed(obj)]
        done = {key(obj) for obj in gone}
        self._objects = {
            name: obj for name, obj in self._objects.items() if name not in done and name not in self._store
        }
        return gone

    def _is_passed(self, obj: Object) -> bool:
        version = self._store.resource_version
        return is_comparable(version) and not is_older(version, resource_version(obj))
