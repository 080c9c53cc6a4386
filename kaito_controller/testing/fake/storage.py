"""Objects by revision, and the history from which watches and consistent pages are served.

One counter for everything, as in etcd. Nothing that was handed in is changed afterwards, so old versions stay valid.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable

from attrs import define, field, frozen

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.clock import Clock
from kaito_controller.testing.fake import status

FRESH_S = 75.0
"""How long a watch cache keeps each event at least (apiserver/pkg/storage/cacher, the default of 1.37)."""
CAPACITY = 100
"""How many events a watch cache keeps at least."""
COMPACTION_S = 300.0
"""Every so often a kube-apiserver makes etcd forget what is older than that."""
FUTURE_S = 3.0
"""How long a read waits for a version that is not there yet."""
FIRST = 100
"""The revision of a new storage: higher than 1, so that 1 is a version from before the history of everything."""


@frozen
class Change:
    """What one revision did to one object: `old` is None for a creation, `new` for a deletion."""

    version: int
    at: float
    key: str
    old: Object | None
    new: Object | None


@define
class Collection:
    """The objects of one group and resource, sorted by key, and how they came to be.

    Attributes:
        watched_from: the version from which on changes are still known to watches.
        seen: the newest version that the watch cache in front of it has heard of.
    """

    objects: dict[str, Object] = field(factory=dict)
    keys: list[str] = field(factory=list)
    changes: list[Change] = field(factory=list)
    watched_from: int = 0
    seen: int = 0
    subscribers: list[Callable[[Change], None]] = field(factory=list)

    def at(self, version: int) -> dict[str, Object]:
        """The objects as they were at a version, sorted by key."""
        found = {key: self.objects[key] for key in self.keys}
        for change in reversed(self.changes):
            if change.version <= version:
                break
            if change.old is None:
                found.pop(change.key, None)
            else:
                found[change.key] = change.old
        return {key: found[key] for key in sorted(found)}

    def since(self, version: int) -> list[Change]:
        """The changes after a version, in order."""
        return self.changes[self.index_after(version) :]

    def index_after(self, version: int) -> int:
        """Where in `changes` those after a version begin."""
        return bisect_right(self.changes, version, key=lambda change: change.version)


class Storage:
    """All collections under one revision counter.

    Args:
        notifies: whether etcd tells every watch cache how far it is, as it does each 5 s where kubeadm set it up; by
            default etcd does so every 10 min only, and a cache then hears of its own changes.
    """

    def __init__(self, clock: Clock, *, notifies: bool = True) -> None:
        self._clock = clock
        self._notifies = notifies
        self._collections: dict[str, Collection] = {}
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._compacted_at = clock.monotonic()
        self._next_compaction = FIRST
        self.revision = FIRST
        self.compacted = 0

    def collection(self, name: str) -> Collection:
        """The collection of a group and resource, empty at first."""
        if name not in self._collections:
            self._collections[name] = Collection(watched_from=self.revision, seen=self.revision)
        return self._collections[name]

    def progress(self, collection: Collection) -> int:
        """The version up to which the collection is known to its watch cache."""
        if self._notifies:
            collection.seen = self.revision
        return collection.seen

    def read_through(self, collection: Collection) -> None:
        """A consistent read has the watch cache ask etcd how far it is."""
        collection.seen = self.revision

    def write(self, name: str, key: str, new: Object) -> Object:
        """Store an object under the next revision, which it then carries."""
        collection = self.collection(name)
        version = self._next()
        stamped = new | {"metadata": new["metadata"] | {"resourceVersion": str(version)}}
        old = collection.objects.get(key)
        if old is None:
            insort(collection.keys, key)
        collection.objects[key] = stamped
        self._record(collection, Change(version, self._clock.monotonic(), key, old, stamped))
        return stamped

    def remove(self, name: str, key: str) -> Object:
        """Remove an object under the next revision; how it was stored last, with that revision."""
        collection = self.collection(name)
        version = self._next()
        old = collection.objects.pop(key)
        collection.keys.pop(bisect_left(collection.keys, key))
        self._record(collection, Change(version, self._clock.monotonic(), key, old, None))
        return old | {"metadata": old["metadata"] | {"resourceVersion": str(version)}}

    def compact(self) -> None:
        """Forget every version but the current one: old pages, old exact lists and old watches are gone."""
        for collection in self._collections.values():
            collection.watched_from = self.revision
        self._forget(self.revision)

    def tick(self) -> None:
        """Compact as a kube-apiserver does by itself: every five minutes, to what was current the time before.

        To be called before anything is written or read: nothing was written since the last call.
        """
        periods = (self._clock.monotonic() - self._compacted_at) // COMPACTION_S
        if periods:
            self._forget(self._next_compaction if periods == 1 else self.revision)
            self._compacted_at += periods * COMPACTION_S
            self._next_compaction = self.revision

    async def wait_for(self, version: int) -> None:
        """Wait until that version is there; raises a too large version's refusal after three seconds (RF23)."""
        if version <= self.revision:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (version, future)
        self._waiting.append(entry)
        timer = self._clock.call_later(FUTURE_S, lambda: _wake(future))
        try:
            await future
        finally:
            timer.cancel()
            if entry in self._waiting:
                self._waiting.remove(entry)
        if version > self.revision:
            raise status.too_large(version, self.revision)

    def _next(self) -> int:
        self.tick()
        self.revision += 1
        return self.revision

    def _record(self, collection: Collection, change: Change) -> None:
        collection.changes.append(change)
        collection.seen = change.version
        self._narrow(collection)
        for subscriber in list(collection.subscribers):
            subscriber(change)
        for version, future in self._waiting:
            if version <= self.revision:
                _wake(future)

    def _narrow(self, collection: Collection) -> None:
        """Move the start of what can be watched, once there is more than enough."""
        first = collection.index_after(collection.watched_from)
        stale = self._clock.monotonic() - FRESH_S
        while len(collection.changes) - first > CAPACITY and collection.changes[first].at < stale:
            collection.watched_from = collection.changes[first].version
            first += 1

    def _forget(self, revision: int) -> None:
        """Drop the history up to a revision, but for what can still be watched."""
        self.compacted = max(self.compacted, revision)
        for collection in self._collections.values():
            del collection.changes[: collection.index_after(min(revision, collection.watched_from))]


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
