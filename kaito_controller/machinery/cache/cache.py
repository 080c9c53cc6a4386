"""The informers of one process, each kind of question asked once, and what we wrote but have not yet seen."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from random import Random
from types import MappingProxyType

from attrs import frozen

from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.cache.consistency import StaleCacheError, Writes
from kaito_controller.machinery.cache.informer import Informer
from kaito_controller.machinery.cache.transform import Transform, strip
from kaito_controller.machinery.cache.unfit import UnfitObjects
from kaito_controller.machinery.cancellation import failure_of
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.events.recorder import EventRecorder
from kaito_controller.machinery.log import logger, unbound
from kaito_controller.machinery.metrics import Metrics

__all__ = ["Cache", "CacheSyncError", "Scope", "StaleCacheError"]

SYNC_TIMEOUT_S = 120.0
RESYNC_S = 36_000.0
"""How often everything is told again, more or less: ten hours, as in controller-runtime (CC3)."""
RESYNC_SPREAD = (0.9, 1.1)
"""Each informer draws its period from this range, so that they do not all come due at one moment."""

log = logger(__name__)


class CacheSyncError(Exception):
    """The first lists did not come in time; the message says of which kinds, and why."""


@frozen(kw_only=True)
class Scope:
    """Which objects of a kind a cache holds, and what of each."""

    namespace: str | None = None
    label_selector: str = ""
    field_selector: str = ""
    metadata_only: bool = False
    transform: Transform = strip


class Cache:
    """Shared informers by what they watch. Started once; one that is asked for later starts at once.

    Args:
        transforms: what is kept of the objects of a kind, where nothing else is asked for; `strip` for the others.
        recorder: tells on an object that its content does not fit (see `UnfitObjects`).
        resync_s: about how often handlers are told of everything again; 0 for never.
    """

    def __init__(
        self,
        client: Client,
        clock: Clock,
        metrics: Metrics | None = None,
        *,
        rng: Random | None = None,
        recorder: EventRecorder | None = None,
        transforms: Mapping[Resource, Transform] = MappingProxyType({}),
        resync_s: float = RESYNC_S,
    ) -> None:
        self.client = client
        self.unfit = UnfitObjects(metrics, recorder)
        self._clock = clock
        self._metrics = metrics
        self._rng = rng or Random()  # noqa: S311 - spreads load, guards nothing
        self._transforms = transforms
        self._resync_s = resync_s
        self._failure: asyncio.Event = asyncio.Event()
        self._error: BaseException | None = None
        self._informers: dict[tuple[Resource, Scope], Informer] = {}
        self._tasks: dict[Informer, asyncio.Task[None]] = {}
        self._by_resource: dict[Resource, list[Informer]] = {}
        self._writes = Writes(clock)
        self._is_started = False

    @property
    def is_started(self) -> bool:
        """Whether informers run, and new ones start at once."""
        return self._is_started

    def informer(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        transform: Transform | None = None,
    ) -> Informer:
        """The informer of these objects; the same arguments give the same one."""
        scope = Scope(
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            metadata_only=metadata_only,
            transform=transform or self.everything(resource).transform,
        )
        return self.find(resource, scope) or self._add(resource, scope)

    def everything(self, resource: Resource) -> Scope:
        """All objects of a kind, each kept as far as this cache keeps that kind."""
        return Scope(transform=self._transforms.get(resource, strip))

    def find(self, resource: Resource, scope: Scope) -> Informer | None:
        """The informer of these objects, if somebody asked for it before."""
        return self._informers.get((resource, scope))

    async def remove(self, informer: Informer) -> None:
        """Stop an informer and forget it with everything that it holds; whoever asks again gets a new one (CC3)."""
        for identity, known in list(self._informers.items()):
            if known is informer:
                del self._informers[identity]
                self._by_resource[informer.resource].remove(informer)
        task = self._tasks.pop(informer, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

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

    async def wait_failed(self) -> None:
        """Wait until an informer fails, which none does but one whose objects somebody changed in place.

        Raises:
            CacheMutatedError: that happened.
            RuntimeError: an informer was cancelled by what it waited for.
        """
        await self._failure.wait()
        if self._error is not None:
            raise self._error

    async def stop(self) -> None:
        """Stop every informer and wait until each has ended."""
        self._is_started = False
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def written(self, resource: Resource, obj: Object) -> None:
        """Remember what a write of our own answered with, so that older reads and lost deletions can be told."""
        self._writes.note(resource, obj)
        for informer in self._by_resource.get(resource, ()):
            informer.expect(obj)

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

    def _add(self, resource: Resource, scope: Scope) -> Informer:
        informer = Informer(
            resource,
            self.client,
            self._clock,
            namespace=scope.namespace,
            label_selector=scope.label_selector,
            field_selector=scope.field_selector,
            metadata_only=scope.metadata_only,
            transform=scope.transform,
            metrics=self._metrics,
            rng=Random(self._rng.random()),  # noqa: S311 - spreads load, guards nothing
            resync_s=self._resync_s * self._rng.uniform(*RESYNC_SPREAD),
            unfit=self.unfit,
        )
        self._informers[resource, scope] = informer
        self._by_resource.setdefault(resource, []).append(informer)
        if self._is_started:
            self._start(informer)
        return informer

    def _start(self, informer: Informer) -> None:
        # The first read of a kind starts its informer, whose lines are no lines of that reconcile.
        task = asyncio.create_task(informer.run(), name=f"informer {informer.resource.plural}", context=unbound())
        task.add_done_callback(self._ended)
        self._tasks[informer] = task

    def _ended(self, task: asyncio.Task[None]) -> None:
        # Whoever stops or removes an informer has taken its task out before.
        is_ended = task.cancelled() and task not in self._tasks.values()
        error = None if is_ended else failure_of(task)
        if error is not None and self._error is None:
            log.critical("an informer has failed", informer=task.get_name(), error=str(error))
            self._error = error
            self._failure.set()
