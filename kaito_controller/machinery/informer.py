"""A store that a reflector keeps up to date, shared by everybody who wants to hear of its changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random

from attrs import define

from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.client import Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.event import Change, Event, Handler
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.reflector import Reflector
from kaito_controller.machinery.store import IndexFunction, Store

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

log = logger(__name__)


def strip(obj: Object) -> Object:
    """Drop what nobody here reads and what takes a third of an object: field ownership and kubectl's copy."""
    head = obj.get("metadata")
    if head:
        head.pop("managedFields", None)
        annotations = head.get("annotations")
        if annotations:
            annotations.pop(LAST_APPLIED, None)
    return obj


@define(eq=False)
class Registration:
    """One handler on one informer."""

    _informer: Informer
    _handler: Handler

    @property
    def has_synced(self) -> bool:
        """Whether the handler has been told of every object of the first list (SI3)."""
        return self._informer.has_synced

    def remove(self) -> None:
        """Tell the handler nothing more. Doing it twice is fine."""
        self._informer.drop(self)

    def tell(self, event: Event) -> bool:
        """Hand one event over; False when the handler failed on it. The next one comes all the same (SI7)."""
        try:
            self._handler(event)
        except Exception:
            log.exception("a handler failed on an event", kind=self._informer.resource.kind, change=event.change.value)
            return False
        return True


class Informer:
    """The objects of one kind that match, as the API server has them, a moment ago.

    A change is applied to the store and told to every handler in one step of the event loop. So a handler added late
    hears of each object exactly once (SI2), and what a handler reads from the store includes what it is told of.
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
        transform: Callable[[Object], Object] = strip,
    ) -> None:
        self.resource = resource
        self.namespace = namespace
        self.store = Store()
        self._is_filtered = bool(label_selector or field_selector)
        self._transform = transform
        self._metrics = metrics
        self._registrations: list[Registration] = []
        self._synced = asyncio.Event()
        self._reflector = Reflector(
            client=client,
            resource=resource,
            sink=self,
            clock=clock,
            rng=rng or Random(),  # noqa: S311 - spreads load, guards nothing
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            metrics=metrics,
        )

    @property
    def has_synced(self) -> bool:
        """Whether the store has held the whole first list, and every handler has been told of it."""
        return self._synced.is_set()

    @property
    def is_filtered(self) -> bool:
        """Whether selectors keep some objects of the kind out of the store."""
        return self._is_filtered

    @property
    def last_error(self) -> Exception | None:
        """What keeps the store from being up to date just now, if anything."""
        return self._reflector.last_error

    async def wait_synced(self) -> None:
        """Wait until the store has held the whole first list."""
        await self._synced.wait()

    async def run(self) -> None:
        """Keep the store up to date until cancelled."""
        await self._reflector.run()

    def add_handler(self, handler: Handler) -> Registration:
        """Tell the handler of every object that is here, and of every change from now on."""
        registration = Registration(self, handler)
        for obj in self.store.list():
            self._tell(registration, Event(change=Change.ADDED, object=obj, initial=True))
        self._registrations.append(registration)
        return registration

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Add an index to the store, at any time."""
        self.store.add_index(name, function)

    def drop(self, registration: Registration) -> None:
        """What `Registration.remove` calls."""
        if registration in self._registrations:
            self._registrations.remove(registration)

    def replace(self, objects: Sequence[Object], version: str) -> None:
        """For the reflector: these are all objects."""
        initial = not self.has_synced
        for event in self.store.replace((self._transform(obj) for obj in objects), version):
            if initial:
                event = Event(change=event.change, object=event.object, old=event.old, initial=True)  # noqa: PLW2901
            self._publish(event)
        self._synced.set()

    def changed(self, obj: Object) -> None:
        """For the reflector: added or modified."""
        self._publish(self.store.put(self._transform(obj)))

    def deleted(self, obj: Object) -> None:
        """For the reflector: gone."""
        event = self.store.remove(self._transform(obj))
        if event is not None:
            self._publish(event)

    def bookmark(self, version: str) -> None:
        """For the reflector: nothing else happened."""
        self.store.advance(version)

    def _publish(self, event: Event) -> None:
        for registration in tuple(self._registrations):
            self._tell(registration, event)

    def _tell(self, registration: Registration, event: Event) -> None:
        if not registration.tell(event) and self._metrics is not None:
            self._metrics.handler_errors.labels(self.resource.kind).inc()
