"""The reflector on a real API server: one stream for everything, metadata alone, versions that are not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.reflector.reflector import Reflector
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.apiserver import APIServer
from kaito_controller.testing.reflecting import Notes


class Telling(Notes):
    """Notes that can be waited for, and that keep the objects."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: list[Object] = []
        self._told = asyncio.Event()

    def replace(self, objects: Sequence[Object], version: str) -> None:
        super().replace(objects, version)
        self.objects += objects
        self._told.set()

    def changed(self, obj: Object) -> None:
        super().changed(obj)
        self.objects.append(obj)
        self._told.set()

    def deleted(self, obj: Object) -> None:
        super().deleted(obj)
        self._told.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._told.clear()
                await self._told.wait()


@asynccontextmanager
async def following(
    client: Client, namespace: str, metrics: Metrics, sink: Notes, **options: Any
) -> AsyncIterator[Reflector]:
    reflector = Reflector(
        client=client,
        resource=CONFIG_MAPS,
        namespace=namespace,
        sink=sink,
        clock=RealClock(),
        rng=Random(1),
        metrics=metrics,
        field_selector="metadata.name!=kube-root-ca.crt",
        **options,
    )
    task = asyncio.create_task(reflector.run())
    try:
        yield reflector
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def counts(metrics: Metrics) -> tuple[float, float]:
    """How many lists and watches were begun."""
    values = [
        metrics.registry.get_sample_value(f"reflector_{what}_total", {"name": "ConfigMap"}) or 0
        for what in ("lists", "watches")
    ]
    return values[0], values[1]


def config_map(name: str, namespace: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": {"a": "b"},
    }


@pytest.mark.parametrize("metadata_only", [False, True], ids=["whole", "metadata"])
@pytest.mark.parametrize("watch_list", [True, False], ids=["stream", "list"])
@pytest.mark.scenario("WL1", "WL3", "RF1", "RF9")
async def test_everything_and_what_happens_next_are_told(
    apiserver: APIServer, namespace: str, watch_list: bool, metadata_only: bool
) -> None:
    """A stream is one request and no list; a list and a watch tell the same. Bare metadata lacks `data` only."""
    metrics, sink = Metrics(), Telling()
    async with AioTransport(kubeconfig=apiserver.kubeconfig) as transport:
        client = Client(transport)
        for name in ("a", "b"):
            await client.create(CONFIG_MAPS, config_map(name, namespace))
        async with following(client, namespace, metrics, sink, watch_list=watch_list, metadata_only=metadata_only):
            await sink.until(lambda: len(sink.held) == 2)
            await client.create(CONFIG_MAPS, config_map("c", namespace))
            await client.delete(CONFIG_MAPS, "a", namespace)
            await sink.until(lambda: set(sink.held) == {f"{namespace}/b", f"{namespace}/c"})
    assert counts(metrics) == ((0, 1) if watch_list else (1, 1))
    assert {(item["kind"], item["apiVersion"]) for item in sink.objects} == {("ConfigMap", "v1")}
    assert {"data" in item for item in sink.objects} == {not metadata_only}


@pytest.mark.parametrize("watch_list", [True, False], ids=["stream", "list"])
@pytest.mark.scenario("RF5", "RF6", "WL4")
async def test_a_version_from_the_future_is_given_up(apiserver: APIServer, namespace: str, watch_list: bool) -> None:
    """What a server says after etcd was restored from a backup, in its own words: everything is read as it is now."""
    metrics, sink = Metrics(), Telling()
    async with AioTransport(kubeconfig=apiserver.kubeconfig) as transport:
        await Client(transport).create(CONFIG_MAPS, config_map("a", namespace))
        async with following(Client(transport), namespace, metrics, sink, watch_list=watch_list) as reflector:
            reflector._live.version = "999999999"
            await sink.until(lambda: len(sink.held) == 1)
    assert counts(metrics) == ((0, 2) if watch_list else (1, 1))
    assert int(sink.told[0][1]) < 999999999


@pytest.mark.scenario("RF2", "RF3", "RF4")
async def test_pages_are_joined(apiserver: APIServer, namespace: str) -> None:
    """Five objects in pages of two: a configured page size makes the server cut, also at version 0."""
    metrics, sink = Metrics(), Telling()
    async with AioTransport(kubeconfig=apiserver.kubeconfig) as transport:
        client = Client(transport)
        for number in range(5):
            await client.create(CONFIG_MAPS, config_map(f"c{number}", namespace))
        async with following(client, namespace, metrics, sink, watch_list=False, page_size=2):
            await sink.until(lambda: len(sink.held) == 5)
    assert len(sink.of("replace")) == 1
