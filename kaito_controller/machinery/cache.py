"""The informers of one process, each kind of question asked once, and what we wrote but have not yet seen."""

from __future__ import annotations

import asyncio
from random import Random

from kaito_controller.kube.metadata import Object, key, resource_version, split_key
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.client import Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.informer import Informer
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.resource_version import Written, is_comparable, is_older

SYNC_TIMEOUT_S = 120.0
WRITTEN_S = 60.0
"""How long a write of our own is waited for. A watch that lags longer is broken, and repeating a write is harmless."""

log = logger(__name__)


class StaleCacheError(Exception):
    """The cache does not show our own last write yet: look again in a moment."""


class CacheSyncError(Exception):
    """The first lists did not come in time; the message says of which kinds, and why."""


class Cache:
    """Shared informers by what they watch. Started once; one that is asked for later starts at once."""

    def __init__(
        self, client: Client, clock: Clock, metrics: Metrics | None = None, *, rng: Random | None = None
    ) -> None:
        self.client = client
        self._clock = clock
        self._metrics = metrics
        self._rng = rng or Random()  # noqa: S311 - spreads load, guards nothing
        self._informers: dict[tuple[Resource, str | None, str, str], Informer] = {}
        self._tasks: dict[Informer, asyncio.Task[None]] = {}
        self._written: dict[tuple[Resource, str], Written] = {}
        self._is_started = False

    def informer(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> Informer:
        """The informer of these objects; the same arguments give the same one."""
        identity = (resource, namespace, label_selector, field_selector)
        informer = self._informers.get(identity)
        if informer is None:
            informer = Informer(
                resource,
                self.client,
                self._clock,
                namespace=namespace,
                label_selector=label_selector,
                field_selector=field_selector,
                metrics=self._metrics,
                rng=Random(self._rng.random()),  # noqa: S311 - spreads load, guards nothing
            )
            self._informers[identity] = informer
            if self._is_started:
                self._start(informer)
        return informer

    def start(self) -> None:
        """Start every informer; needs the running event loop."""
        self._is_started = True
        for informer in self._informers.values():
            if informer not in self._tasks:
                self._start(informer)

    async def wait_synced(self, timeout_s: float = SYNC_TIMEOUT_S) -> None:
        """Wait for the first list of every informer.

        Raises:
            CacheSyncError: some did not come in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                for informer in list(self._informers.values()):
                    await informer.wait_synced()
        except TimeoutError:
            missing = [each for each in self._informers.values() if not each.has_synced]
            reasons = "; ".join(f"{each.resource.plural}: {each.last_error or 'no answer yet'}" for each in missing)
            raise CacheSyncError(f"no complete list within {timeout_s:g} s: {reasons}") from None

    async def stop(self) -> None:
        """Stop every informer and wait until each has ended."""
        self._is_started = False
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def written(self, resource: Resource, obj: Object) -> None:
        """Remember what a write of our own answered with, so that older reads can be told."""
        version = resource_version(obj)
        if not is_comparable(version):
            return
        identity = (resource, key(obj))
        now = self._clock.monotonic()
        known = self._written.get(identity)
        if known is None or is_older(known.version, version):
            self._written[identity] = Written(version, now)
        for old in [each for each, write in self._written.items() if now - write.at > WRITTEN_S]:
            del self._written[old]

    def is_stale(self, resource: Resource, key: str) -> bool:
        """Whether a cached read of this object would be older than our own last write to it (EX5)."""
        write = self._written.get((resource, key))
        if write is None:
            return False
        if self._clock.monotonic() - write.at <= WRITTEN_S and any(
            _is_behind(informer, key, write) for informer in self._informers.values() if informer.resource == resource
        ):
            return True
        del self._written[resource, key]
        return False

    def require_fresh(self, resource: Resource, key: str) -> None:
        """Raise unless the cache shows our own last write to this object.

        Raises:
            StaleCacheError: it does not; let it end the reconcile, which is then tried again.
        """
        if self.is_stale(resource, key):
            raise StaleCacheError(f"{resource.kind} {key}: the cache is older than our own last write")

    def _start(self, informer: Informer) -> None:
        self._tasks[informer] = asyncio.create_task(informer.run(), name=f"informer {informer.resource.plural}")


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
