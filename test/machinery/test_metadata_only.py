"""Informers of metadata alone: the server sends no more, and labels, owners and existence are there all the same."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from kaito_controller.kube.core import NAMESPACES, PODS, STATEFUL_SETS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.cache.event import Change
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.controller.source import Watch, enqueue_owner
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.fake.server import FakeServer
from kaito_controller.testing.fake.transport import FakeTransport


def pod(name: str) -> Object:
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "s", "uid": "u", "controller": True}
    head = {"name": name, "namespace": "models", "labels": {"app": "web"}, "ownerReferences": [owner]}
    return {"metadata": head, "spec": {"containers": [{"name": "c", "image": "i"}]}}


@virtual_time
@pytest.mark.scenario("CC3")
async def test_nothing_but_metadata_is_sent_and_kept(clock: VirtualClock) -> None:
    """From the first list on through changes and deletions; a cache of whole objects beside it is another one."""
    server = FakeServer(clock, Random(1))
    server.create(NAMESPACES, {"metadata": {"name": "models"}})
    server.create(PODS, pod("a"))
    cache = Cache(Client(FakeTransport(server)), clock, rng=Random(1))
    lean, whole = cache.informer(PODS, metadata_only=True), cache.informer(PODS)
    assert lean is not whole
    watch = Watch(PODS, enqueue_owner(STATEFUL_SETS))
    told: list[tuple[Change, list[str], int]] = []
    lean.add_handler(lambda event: told.append((event.change, sorted(event.object), len(list(watch.requests(event))))))
    lean.add_index("app", lambda item: [item["metadata"]["labels"]["app"]])
    cache.start()
    await cache.wait_synced()
    server.patch(PODS, "a", "models", {"metadata": {"labels": {"app": "api"}}})
    server.create(PODS, pod("b"))
    await asyncio.sleep(1)
    server.storage.remove("pods", "models/b")
    await asyncio.sleep(1)
    fields = ["apiVersion", "kind", "metadata"]
    assert told == [(change, fields, 1) for change in (Change.ADDED, Change.UPDATED, Change.ADDED, Change.DELETED)]
    assert list(lean.store.index_values("app")) == ["api"]
    assert {item["kind"] for item in lean.store.list()} == {"Pod"}
    assert "spec" in whole.store.list()[0]
    await cache.stop()
