"""A kind that is installed after the operator has started."""

from __future__ import annotations

import asyncio

import pytest

from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.controller.controller import Controller, Request, Result
from kaito_controller.machinery.controller.source import Watch, enqueue_self
from kaito_controller.machinery.manager.manager import Manager
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.apiserver import APIServer
from kaito_controller.testing.eventually import eventually

NAMESPACE = "chaos"
LATECOMERS = Resource(group="tests.kaito.sh", version="v1", kind="Latecomer", plural="latecomers", namespaced=True)
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "latecomers.tests.kaito.sh"},
    "spec": {
        "group": LATECOMERS.group,
        "scope": "Namespaced",
        "names": {"kind": LATECOMERS.kind, "plural": LATECOMERS.plural, "singular": "latecomer"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


class Noting:
    """A reconciler that notes what it was asked for."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.noted = asyncio.Event()

    async def reconcile(self, request: Request) -> Result:
        """Note it."""
        self.keys.add(request.key)
        self.noted.set()
        return Result.done()


@pytest.mark.slow
@pytest.mark.scenario("CT10")
async def test_a_kind_installed_late_is_reconciled_without_a_restart(server: APIServer) -> None:
    """The operator is there before the kind.

    Given an operator that watches a kind which the cluster does not know
    When the kind is installed and an object of it is made
    Then the operator, which has been waiting, reconciles it.
    """
    clock, metrics, noting, stop = RealClock(), Metrics(), Noting(), asyncio.Event()
    async with AioTransport(kubeconfig=server.kubeconfig, clock=clock, metrics=metrics) as transport:
        cache = Cache(Client(transport), clock, metrics)
        manager = Manager(cache, clock, metrics)
        manager.add(Controller("late", noting, [Watch(LATECOMERS, enqueue_self)], cache, clock, metrics))
        running = asyncio.create_task(manager.run(stop))
        try:
            informer = cache.informer(LATECOMERS)
            await asyncio.to_thread(eventually, "the kind is missed", lambda: informer.last_error is not None)
            await asyncio.to_thread(server.apply, DEFINITION)
            wait = ("wait", "--for=condition=Established", "crd/latecomers.tests.kaito.sh", "--timeout=30s")
            await asyncio.to_thread(server.kubectl, *wait)
            made = {"apiVersion": LATECOMERS.api_version, "kind": LATECOMERS.kind}
            await asyncio.to_thread(server.apply, {**made, "metadata": {"name": "one", "namespace": NAMESPACE}})
            async with asyncio.timeout(60):
                await noting.noted.wait()
        finally:
            stop.set()
            await running
    assert noting.keys == {f"{NAMESPACE}/one"}
