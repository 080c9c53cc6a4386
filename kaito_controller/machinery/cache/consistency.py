"""What we wrote and have not yet seen come back: the memory that makes cached reads show our own writes (EX5)."""

from __future__ import annotations

from collections.abc import Iterable

from kaito_controller.kube.metadata import Object, key, resource_version, split_key
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.cache.informer import Informer
from kaito_controller.machinery.cache.resource_version import Written, is_comparable, is_older
from kaito_controller.machinery.clock import Clock

WRITTEN_S = 60.0
"""How long a write of our own is waited for. A watch that lags longer is broken, and repeating a write is harmless."""


class StaleCacheError(Exception):
    """The cache does not show our own last write yet: look again in a moment."""


class Writes:
    """The last write of ours to each object, forgotten once a cache shows it or after a minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Oldest first, since a newer write moves its entry to the end: forgetting looks at the first ones only.
        self._writes: dict[tuple[Resource, str], Written] = {}

    def __len__(self) -> int:
        return len(self._writes)

    def note(self, resource: Resource, obj: Object) -> None:
        """Remember what a write answered with. Of two answers that overtook each other the newer one counts."""
        version = resource_version(obj)
        if not is_comparable(version):
            return
        identity = (resource, key(obj))
        now = self._clock.monotonic()
        known = self._writes.get(identity)
        if known is None or is_older(known.version, version):
            self._writes.pop(identity, None)
            self._writes[identity] = Written(version, now)
        self._forget_before(now - WRITTEN_S)

    def is_ahead_of(self, informers: Iterable[Informer], resource: Resource, key: str) -> bool:
        """Whether one of these informers should come to show our last write to the object and does not yet."""
        write = self._writes.get((resource, key))
        if write is None:
            return False
        if self._clock.monotonic() - write.at <= WRITTEN_S and any(_is_behind(each, key, write) for each in informers):
            return True
        del self._writes[resource, key]
        return False

    def _forget_before(self, instant: float) -> None:
        while self._writes:
            oldest = next(iter(self._writes))
            if self._writes[oldest].at >= instant:
                return
            del self._writes[oldest]


def _is_behind(informer: Informer, key: str, write: Written) -> bool:
    """Whether this informer should come to show the write and does not yet."""
    namespace, _ = split_key(key)
    if informer.namespace is not None and informer.namespace != namespace:
        return False
    obj = informer.store.get(key)
    if obj is None and informer.is_filtered:
        # Its selectors may keep the object out for good; only unfiltered informers tell of what is absent.
        return False
    if obj is not None and not write.is_newer_than(resource_version(obj)):
        return False
    return write.is_newer_than(informer.store.resource_version)
