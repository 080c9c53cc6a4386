"""The informers of one process, each kind of question asked once, and what we wrote but have not yet seen."""

from __future__ import annotations

import asyncio
from random import Random

from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.client import Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.consistency import StaleCacheError, Writes
from kaito_controller.machinery.informer import Informer
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import Metrics

__all__ = ["Cache", "CacheSyncError", "StaleCacheError"]

SYNC_TIMEOUT_S = 120.0

log = logger(__name__)


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
        self._by_resource: dict[Resource, list[Informer]] = {}
        self._writes = Writes(clock)
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
            self._by_resource.setdefault(resource, []).append(informer)
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
        self._writes.note(resource, obj)

    def is_stale(self, resource: Resource, key: str) -> bool:
        """Whether a cached read of this object would be older than our own last write to it (EX5)."""
        return self._writes.is_ahead_of(self._by_resource.get(resource, ()), resource, key)

    def require_fresh(self, resource: Resource, key: str) -> None:
        """Raise unless the cache shows our own last write to this object.

        Raises:
            StaleCacheError: it does not; let it end the reconcile, which is then tried again.
        """
        if self.is_stale(resource, key):
            raise StaleCacheError(f"{resource.kind} {key}: the cache is older than our own last write")

    def _start(self, informer: Informer) -> None:
        self._tasks[informer] = asyncio.create_task(informer.run(), name=f"informer {informer.resource.plural}")
