"""A store that a reflector keeps up to date, shared by everybody who wants to hear of its changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import cast

from kaito_controller.kube.metadata import Object, key, namespace, resource_version
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.cache.event import AsyncHandler, Change, Event, Handler
from kaito_controller.machinery.cache.mutation import detector
from kaito_controller.machinery.cache.registration import (
    BufferedRegistration,
    InlineRegistration,
    Registration,
    is_async,
)
from kaito_controller.machinery.cache.resync import Resync
from kaito_controller.machinery.cache.store import IndexFunction, Store, is_same
from kaito_controller.machinery.cache.transform import Transform, strip, transformed
from kaito_controller.machinery.cache.unfit import DATA_ERRORS, UnfitObjects
from kaito_controller.machinery.cache.unseen import Unseen
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.reflector.reflector import Reflector

__all__ = ["Informer", "Registration"]

log = logger(__name__)


class Informer:
    """The objects of one kind that match, as the API server has them, a moment ago.

    A change is applied to the store and told to every handler in one step of the event loop. So a handler added late
    hears of each object exactly once (SI2), and what a handler reads from the store includes what it is told of.

    Args:
        resync_s: how often handlers that ask for nothing else are told of everything again; 0 for never.
        metadata_only: keep nothing but `metadata` of each object, and have the server send no more.
        watch_list: read everything from a stream where the server can do that, instead of by lists.
        page_size: objects a page when listing; None lets the server answer in one piece where it can.
        transform: makes of each object what is kept; an error of it rejects that object alone (FQ5).
        unfit: where objects are reported that handlers, indexes or the transform cannot make sense of.
    """

    def __init__(
        self,
        resource: Resource,
        client: Client,
        clock: Clock,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        metrics: Metrics | None = None,
        rng: Random | None = None,
        resync_s: float = 0.0,
        metadata_only: bool = False,
        watch_list: bool = True,
        page_size: int | None = None,
        transform: Transform = strip,
        unfit: UnfitObjects | None = None,
    ) -> None:
        self.resource = resource
        self.namespace = namespace
        self._clock = clock
        self._is_filtered = bool(label_selector or field_selector)
        self._transform = transform
        self._metrics = metrics
        self._unfit = unfit or UnfitObjects(metrics)
        self._detector = detector(clock, resource.kind)
        self.store = Store(self._unindexed, self._detector)
        self._unseen = Unseen(self.store)
        self._resync = Resync(clock, self.store, resync_s)
        self._registrations: list[Registration] = []
        self._synced = asyncio.Event()
        self._is_running = False
        self._is_stopped = False
        self._reflector = Reflector(
            client=client,
            resource=resource,
            sink=self,
            clock=clock,
            rng=rng or Random(),  # noqa: S311 - spreads load, guards nothing
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            metadata_only=metadata_only,
            watch_list=watch_list,
            page_size=page_size,
            metrics=metrics,
        )

    @property
    def has_synced(self) -> bool:
        """Whether the store has held the whole first list (FQ6)."""
        return self._synced.is_set()

    @property
    def is_filtered(self) -> bool:
        """Whether selectors keep some objects of the kind out of the store."""
        return self._is_filtered

    @property
    def is_stopped(self) -> bool:
        """Whether it ran and has ended."""
        return self._is_stopped

    @property
    def last_error(self) -> Exception | None:
        """What keeps the store from being up to date just now, if anything."""
        return self._reflector.last_error

    async def wait_synced(self) -> None:
        """Wait until the store has held the whole first list."""
        await self._synced.wait()

    async def run(self) -> None:
        """Keep the store up to date until cancelled. Only the first call does anything.

        Raises:
            CacheMutatedError: somebody changed a cached object in place, and this is looked for.
        """
        if self._is_running or self._is_stopped:
            log.warning("an informer runs once; this call does nothing", kind=self.resource.kind)
            return
        self._is_running = True
        self._resync.start()
        for registration in self._registrations:
            registration.start()
        kind = self.resource.kind
        tasks = [
            asyncio.create_task(self._reflector.run(), name=f"reflector {kind}"),
            asyncio.create_task(self._resync.run(self._synced), name=f"resync {kind}"),
        ]
        if self._detector is not None:
            tasks.append(asyncio.create_task(self._detector.run(), name=f"mutation detector {kind}"))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await self._stop(tasks)

    def add_handler(self, handler: Handler | AsyncHandler, *, resync_s: float | None = None) -> Registration:
        """Tell the handler of every object that is here, and of every change from now on.

        A plain function is called in the very step in which the store changes. A coroutine function gets a buffer and
        a task of its own, which exist while the informer runs.

        Args:
            handler: added twice, it is told twice.
            resync_s: how often it wants to be told of everything again; None for as often as the informer says.

        Raises:
            RuntimeError: the informer has stopped.
        """
        self._require_not_stopped("handler")
        registration = self._registration(handler, self._resync.period(resync_s))
        if self._is_running:
            registration.start()
        for obj in self.store.list():
            registration.tell(Event(change=Change.ADDED, object=obj, initial=True))
        if self.has_synced:
            registration.mark_synced()
        self._registrations.append(registration)
        self._resync.enrol(registration)
        return registration

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Add an index to the store, at any time.

        Raises:
            RuntimeError: the informer has stopped.
            ValueError: the name is taken by another function.
        """
        self._require_not_stopped("index")
        self.store.add_index(name, function)

    def drop(self, registration: Registration) -> None:
        """What `Registration.remove` calls; one of another informer is none of our business."""
        if registration in self._registrations:
            self._registrations.remove(registration)
            self._resync.strike(registration)

    def expect(self, obj: Object) -> None:
        """For the cache: a write of our own answered with this, so a list without it tells of a deletion."""
        foreign = self.namespace is not None and self.namespace != namespace(obj)
        if foreign or self._is_filtered or not self._synced.is_set():
            return
        lost = self._unseen.note(obj)
        if lost is not None:
            self._publish(_lost(lost))

    def keep(self, obj: Object) -> Object | None:
        """For the reflector: what is kept of an object of a list; of a rejected one what was known before, if anything.

        Its turn comes when all of the list is there (`replace`).
        """
        made = self._transformed(obj)
        return self.store.get(key(obj)) if made is None else made

    def replace(self, objects: Sequence[Object], version: str) -> None:
        """For the reflector: these are all objects, as `keep` left them."""
        # A handler that comes while the others are told finds everything in the store already.
        registrations = tuple(self._registrations)
        events = self.store.replace(objects, version, initial=not self._synced.is_set())
        for event in events:
            if event.change is Change.DELETED:
                self._unseen.ended(event.object)
        for event in (*events, *map(_lost, self._unseen.vanished())):
            for registration in registrations:
                registration.tell(event)
        self._mark_synced()
        self._watch_for_mutation()

    def changed(self, obj: Object) -> None:
        """For the reflector: added or modified."""
        self._unseen.shown(key(obj))
        kept = self._transformed(obj)
        if kept is None:
            self.store.advance(resource_version(obj))
            return
        event = self.store.put(kept)
        if event.old is None or not is_same(event.old, kept):
            self._publish(event)
        self._mark_synced()
        self._watch_for_mutation()

    def deleted(self, obj: Object) -> None:
        """For the reflector: gone. The deletion is told even if its last state is rejected, with the one before."""
        self._unseen.ended(obj)
        last = self._transformed(obj)
        event = self.store.remove(last) if last is not None else self.store.forget(key(obj), resource_version(obj))
        if event is not None:
            self._publish(event)
        self._mark_synced()

    def bookmark(self, version: str) -> None:
        """For the reflector: nothing else happened."""
        self.store.advance(version)

    def _publish(self, event: Event) -> None:
        for registration in tuple(self._registrations):
            registration.tell(event)

    def _registration(self, handler: Handler | AsyncHandler, resync_s: float) -> Registration:
        if is_async(handler):
            name = f"handler of {self.resource.kind}"
            return BufferedRegistration(handler, resync_s, self.drop, self._failed, clock=self._clock, name=name)
        return InlineRegistration(cast("Handler", handler), resync_s, self.drop, self._failed)

    def _mark_synced(self) -> None:
        if self._synced.is_set():
            return
        self._synced.set()
        for registration in self._registrations:
            registration.mark_synced()

    def _watch_for_mutation(self) -> None:
        if self._detector is not None and self._is_running:
            self._detector.awake()

    def _transformed(self, obj: Object) -> Object | None:
        """What is kept of an object; None when it is rejected, which is reported."""
        try:
            return transformed(self._transform, obj)
        except Exception as error:  # noqa: BLE001 - it rejects this object and no other
            self._unfit.report(obj, f"the cache of {self.resource.plural}", _text(error))
            return None

    def _unindexed(self, obj: Object, index: str, error: Exception) -> None:
        self._unfit.report(obj, f"index {index!r} of {self.resource.plural}", _text(error))

    def _failed(self, event: Event, error: BaseException) -> None:
        """A handler failed on an event. The next one comes all the same (SI7)."""
        kind, text = self.resource.kind, _text(error)
        if self._metrics is not None:
            self._metrics.handler_errors.labels(kind).inc()
        if isinstance(error, DATA_ERRORS) and not self._unfit.report(event.object, f"a handler of {kind}", text):
            # A node that sends a heartbeat every few seconds would fill the log with one and the same trace.
            log.debug("a handler failed again on an object", kind=kind, change=event.change.value, error=text)
            return
        log.error("a handler failed on an event", kind=kind, change=event.change.value, error=text, exc_info=error)

    def _require_not_stopped(self, what: str) -> None:
        if self._is_stopped:
            raise RuntimeError(f"informer of {self.resource.kind}: has stopped, so a {what} would never be of use")

    async def _stop(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """First nothing new comes, then the handlers end (SI11)."""
        self._is_stopped = True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(registration.stop() for registration in tuple(self._registrations)))
        self._is_running = False


def _lost(obj: Object) -> Event:
    return Event(change=Change.DELETED, object=obj, final_state_unknown=True)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
