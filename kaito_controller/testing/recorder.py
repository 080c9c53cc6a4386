"""A small operator that writes down what it has seen, to be held against what the server has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, key, resource_version
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.cache.event import Event
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.controller.controller import Controller, Request, Result
from kaito_controller.machinery.controller.source import Watch, enqueue_self
from kaito_controller.machinery.manager.manager import Manager
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.apiserver import APIServer

CONVERGED_S = 90.0


def config_map(name: str, namespace: str, text: str) -> Object:
    """A ConfigMap that the recorder will see."""
    head = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": head, "data": {"text": text}}


class Recorder:
    """A reconciler that writes down which version of each object it has seen; None for one that is gone.

    Attributes:
        seen: by key, the version at the last reconcile.
        events: what the informer told, in order.
        lists: how often the informer had to list.
    """

    def __init__(self, cache: Cache, namespace: str, metrics: Metrics) -> None:
        self.informer = cache.informer(CONFIG_MAPS, namespace=namespace)
        self.seen: dict[str, str | None] = {}
        self.events: list[Event] = []
        self.metrics = metrics
        self._changed = asyncio.Event()
        self.informer.add_handler(self._note)

    async def reconcile(self, request: Request) -> Result:
        """Look, and write it down."""
        found = self.informer.store.get(request.key)
        self.seen[request.key] = resource_version(found) if found is not None else None
        self._changed.set()
        return Result.done()

    async def changed(self) -> None:
        """Wait until something else was told or reconciled."""
        self._changed.clear()
        await self._changed.wait()

    def _note(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    @property
    def stored(self) -> dict[str, str]:
        """What the store holds: versions by key."""
        return {key(item): resource_version(item) for item in self.informer.store.list()}


@asynccontextmanager
async def recording(kubeconfig: Path, namespace: str) -> AsyncIterator[Recorder]:
    """Run a manager with one controller over the ConfigMaps of a namespace."""
    clock, metrics = RealClock(), Metrics()
    async with AioTransport(kubeconfig=kubeconfig, clock=clock, metrics=metrics) as transport:
        cache = Cache(Client(transport), clock, metrics)
        recorder = Recorder(cache, namespace, metrics)
        manager = Manager(cache, clock, metrics)
        watch = Watch(CONFIG_MAPS, enqueue_self, namespace=namespace)
        manager.add(Controller("recorder", recorder, [watch], cache, clock, metrics))
        stop = asyncio.Event()
        running = asyncio.create_task(manager.run(stop))
        try:
            yield recorder
        finally:
            stop.set()
            await running


async def converged(server: APIServer, recorder: Recorder, *, gone: Collection[str] = ()) -> None:
    """Wait until store and reconciler have seen exactly what the server has, then assert it."""
    namespace = recorder.informer.namespace
    listed = await asyncio.to_thread(server.get, "configmaps", f"--namespace={namespace}")
    expected = {key(item): resource_version(item) for item in listed["items"]}
    reconciled = {**dict.fromkeys(gone), **expected}
    with suppress(TimeoutError):
        async with asyncio.timeout(CONVERGED_S):
            while (recorder.stored, recorder.seen) != (expected, reconciled):
                await recorder.changed()
    assert expected == recorder.stored
    assert reconciled == recorder.seen
