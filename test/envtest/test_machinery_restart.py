"""The machinery against a real API server that is killed under it: nothing that happened is missed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, key, resource_version
from kaito_controller.machinery.cache import Cache
from kaito_controller.machinery.client import Client
from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.controller import Controller, Request, Result
from kaito_controller.machinery.manager import Manager
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.source import Watch, enqueue_self
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.apiserver import APIServer
from kaito_controller.testing.control_plane import ETCD

pytestmark = pytest.mark.slow

NAMESPACE = "restarts"


class Recorder:
    """A reconciler that writes down which version of each object it has seen; None for one that is gone."""

    def __init__(self, cache: Cache) -> None:
        self._store = cache.informer(CONFIG_MAPS, namespace=NAMESPACE).store
        self.seen: dict[str, str | None] = {}

    async def reconcile(self, request: Request) -> Result:
        found = self._store.get(request.key)
        self.seen[request.key] = resource_version(found) if found is not None else None
        return Result.done()


@asynccontextmanager
async def operator(server: APIServer) -> AsyncIterator[tuple[Cache, Recorder]]:
    """A manager with one controller over the ConfigMaps of the namespace."""
    clock, metrics = RealClock(), Metrics()
    async with AioTransport(kubeconfig=server.kubeconfig, clock=clock, metrics=metrics) as transport:
        cache = Cache(Client(transport), clock, metrics)
        recorder = Recorder(cache)
        watch = Watch(CONFIG_MAPS, enqueue_self, namespace=NAMESPACE)
        manager = Manager(cache, clock, metrics)
        manager.add(Controller("recorder", recorder, [watch], cache, clock, metrics))
        stop = asyncio.Event()
        running = asyncio.create_task(manager.run(stop))
        try:
            yield cache, recorder
        finally:
            stop.set()
            await running


def documents(*names: str, text: str) -> list[Object]:
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "data": {"t": text},
        }
        for name in names
    ]


def on_server(server: APIServer) -> dict[str, str]:
    found = json.loads(server.kubectl("get", "configmaps", f"--namespace={NAMESPACE}", "--output=json"))
    return {key(item): resource_version(item) for item in found["items"]}


def kill_etcd(server: APIServer) -> None:
    server.control_plane.stop_component(ETCD, grace_s=0.0)


async def converged(server: APIServer, cache: Cache, recorder: Recorder, *, gone: set[str] = frozenset()) -> None:
    """Wait until the store and the reconciler have seen exactly what the server has, then assert it."""
    expected = await asyncio.to_thread(on_server, server)
    store = cache.informer(CONFIG_MAPS, namespace=NAMESPACE).store
    reconciled = expected | dict.fromkeys(gone)
    stored: dict[str, str] = {}
    seen: dict[str, str | None] = {}
    try:
        async with asyncio.timeout(90):
            while (stored, seen) != (expected, reconciled):
                await asyncio.sleep(0.05)
                stored = {key(item): resource_version(item) for item in store.list()}
                seen = dict(recorder.seen)
    except TimeoutError:
        pass
    assert expected == stored
    assert reconciled == seen


async def test_a_kill_of_apiserver_and_etcd_loses_no_change(own_apiserver: APIServer) -> None:
    """T9: created, changed and deleted before, between and after kills of both; every key is reconciled at its last."""
    server = own_apiserver
    await asyncio.to_thread(server.create_namespace, NAMESPACE)
    await asyncio.to_thread(server.apply, *documents("a", "b", "c", text="before"))
    async with operator(server) as (cache, recorder):
        await converged(server, cache, recorder)

        await asyncio.to_thread(server.restart_apiserver, kill=True)
        await asyncio.to_thread(server.apply, *documents("a", "d", text="after the apiserver's kill"))
        await asyncio.to_thread(server.kubectl, "delete", "configmap", "b", f"--namespace={NAMESPACE}")
        await converged(server, cache, recorder, gone={f"{NAMESPACE}/b"})

        await asyncio.to_thread(kill_etcd, server)
        await asyncio.to_thread(server.start_etcd)
        await asyncio.to_thread(server.apply, *documents("c", "e", text="after etcd's kill"))
        await converged(server, cache, recorder, gone={f"{NAMESPACE}/b"})

        await asyncio.to_thread(server.stop_apiserver, kill=True)
        await asyncio.to_thread(kill_etcd, server)
        await asyncio.to_thread(server.control_plane.start_etcd)
        await asyncio.to_thread(server.start_apiserver)
        await asyncio.to_thread(server.kubectl, "delete", "configmap", "a", "e", f"--namespace={NAMESPACE}")
        await asyncio.to_thread(server.apply, *documents("a", "f", text="again, as another object"))
        await converged(server, cache, recorder, gone={f"{NAMESPACE}/b", f"{NAMESPACE}/e"})
