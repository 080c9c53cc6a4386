"""What is told about a history that is gone: pages, exact versions and watches."""

from __future__ import annotations

import base64

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, name, resource_version
from kaito_controller.machinery import codec
from kaito_controller.machinery.errors import ApiError, is_gone
from kaito_controller.testing.fake.reading import decode_continue
from kaito_controller.testing.fake.stage import World, everywhere


async def make(world: World, name: str) -> Object:
    """A ConfigMap."""
    return await world.client.create(CONFIG_MAPS, {"metadata": {"name": name, "namespace": world.namespace}})


@pytest.mark.scenario("RF4", "RF5", "RF14", "RF23")
@everywhere
async def test_after_compaction(world: World) -> None:
    """Pages and exact versions are 410 Expired over HTTP, watches in their stream; a fresh list is as ever."""
    made = [await make(world, each) for each in "abc"]
    page = await world.client.list_page(CONFIG_MAPS, world.namespace, limit=1)
    await world.client.delete(CONFIG_MAPS, "b", world.namespace)
    await make(world, "d")
    await world.forget()
    path = CONFIG_MAPS.path(world.namespace)
    for query in (
        {"continue": page.continue_token, "limit": "1"},
        {"resourceVersion": resource_version(made[0]), "resourceVersionMatch": "Exact"},
    ):
        with pytest.raises(ApiError) as caught:
            await world.transport.request("GET", path, query=query)
        assert is_gone(caught.value), query
        assert (caught.value.status, caught.value.reason) == (410, "Expired")
    async with world.watch(CONFIG_MAPS, resourceVersion=resource_version(made[0])) as watcher:
        events = await watcher.rest()
    assert [event["type"] for event in events] == ["ERROR"]
    assert (events[0]["object"]["code"], events[0]["object"]["reason"]) == (410, "Expired")
    assert "too old resource version" in events[0]["object"]["message"]
    fresh = await world.client.list(CONFIG_MAPS, world.namespace)
    assert [name(item) for item in fresh] == ["a", "c", "d"]


@everywhere
async def test_a_token_says_where_it_is(world: World) -> None:
    """A continue token is the version of the list and the first key to come; -1 stands for whatever is current."""
    for each in "abc":
        await make(world, each)
    page = await world.client.list_page(CONFIG_MAPS, world.namespace, limit=1)
    version, start = decode_continue(page.continue_token)
    assert str(version) == page.resource_version
    assert start.rstrip("\0").endswith("a")
    await make(world, "bb")
    data = codec.dumps({"v": "meta.k8s.io/v1", "rv": -1, "start": start})
    token = base64.urlsafe_b64encode(data).decode().rstrip("=")
    rest = await world.client.list_page(CONFIG_MAPS, world.namespace, continue_token=token)
    assert [name(item) for item in rest.items] == ["b", "bb", "c"]
    assert int(rest.resource_version) > version
