"""Kinds that are defined while the server runs: served, checked, pruned, and taken away again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kaito_controller.kube.core import CUSTOM_RESOURCE_DEFINITIONS
from kaito_controller.kube.metadata import generation, is_deleting
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.errors import ApiError, is_invalid, is_not_found
from kaito_controller.testing.fake.gadgets import GADGETS, definition, gadget
from kaito_controller.testing.fake.stage import World, everywhere


def late(world: World, *, namespaced: bool = True) -> Resource:
    """A kind of the test's own."""
    group = f"{world.namespace}.example.com"
    return Resource(group=group, version="v1", kind="Widget", plural="widgets", namespaced=namespaced)


def widget(resource: Resource, name: str, namespace: str = "", **head: Any) -> dict[str, Any]:
    """An object of that kind."""
    place = {"namespace": namespace} if namespace else {}
    metadata = {"name": name} | place | head
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": {"size": 1}}


async def until_gone(world: World, read: Callable[[], Awaitable[object]]) -> None:
    """Wait until a read answers that there is nothing."""
    for _ in range(100):
        try:
            await read()
        except ApiError as error:
            if is_not_found(error):
                return
        await world.clock.sleep(0.1)
    pytest.fail("still there after 10 s")


@everywhere
async def test_a_kind_that_comes_late_and_goes(world: World) -> None:
    """A definition is served soon after it was created; deleting it deletes the objects and ends their watches."""
    client, resource = world.client, late(world)
    with pytest.raises(ApiError) as caught:
        await client.list(resource, world.namespace)
    assert is_not_found(caught.value)
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition(resource))
    await world.until_served(resource)
    found = await client.get(CUSTOM_RESOURCE_DEFINITIONS, f"widgets.{resource.group}")
    conditions = {condition["type"]: condition["status"] for condition in found["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert found["status"]["storedVersions"] == ["v1"]
    await client.create(resource, widget(resource, "a", world.namespace))
    version = (await client.list_page(resource, world.namespace)).resource_version
    async with world.watch(resource, resourceVersion=version, timeoutSeconds="15") as watcher:
        watcher.within_s = 15
        await client.delete(CUSTOM_RESOURCE_DEFINITIONS, f"widgets.{resource.group}")
        deleted = await watcher.next()
    assert (deleted["type"], deleted["object"]["metadata"]["name"]) == ("DELETED", "a")
    await until_gone(world, lambda: client.list(resource, world.namespace))


@everywhere
async def test_a_definition_waits_for_finalizers(world: World) -> None:
    """While a custom object is kept, its definition stays, and nothing new is created."""
    client, resource = world.client, late(world)
    name = f"widgets.{resource.group}"
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition(resource))
    await world.until_served(resource)
    await client.create(resource, widget(resource, "a", world.namespace, finalizers=["example.com/keep"]))
    await client.delete(CUSTOM_RESOURCE_DEFINITIONS, name)
    for _ in range(100):
        if is_deleting(await client.get(resource, "a", world.namespace)):
            break
        await world.clock.sleep(0.1)
    assert is_deleting(await client.get(CUSTOM_RESOURCE_DEFINITIONS, name))
    with pytest.raises(ApiError) as caught:
        await client.create(resource, widget(resource, "b", world.namespace))
    assert caught.value.status in {403, 405}
    await client.merge_patch(resource, "a", world.namespace, {"metadata": {"finalizers": None}})
    await until_gone(world, lambda: client.get(CUSTOM_RESOURCE_DEFINITIONS, name))


@everywhere
async def test_a_kind_without_status(world: World) -> None:
    """Without the subresource a status is a field as any other: written with the rest, and counted."""
    client, resource = world.client, late(world, namespaced=False)
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition(resource, status=False))
    await world.until_served(resource)
    made = await client.create(resource, widget(resource, "a") | {"status": {"phase": "x"}})
    assert (made["status"], generation(made)) == ({"phase": "x"}, 1)
    assert "namespace" not in made["metadata"]
    told = await client.merge_patch(resource, "a", None, {"status": {"phase": "y"}})
    assert (told["status"], generation(told)) == ({"phase": "y"}, 2)
    with pytest.raises(ApiError) as caught:
        await client.merge_patch(resource, "a", None, {"status": {"phase": "z"}}, subresource="status")
    assert is_not_found(caught.value)
    await client.delete(CUSTOM_RESOURCE_DEFINITIONS, f"widgets.{resource.group}")


@everywhere
async def test_the_schema(world: World) -> None:
    """Unknown fields are dropped, defaults filled in; what breaks the schema is told field by field."""
    made = await world.client.create(GADGETS, gadget("a", world.namespace, unknown=1, free={"any": {"thing": 1}}))
    assert made["spec"] == {"size": 1, "color": "red", "free": {"any": {"thing": 1}}}
    for spec, wrong in (
        ({"size": 0}, {("spec.size", "FieldValueInvalid")}),
        ({"size": "1"}, {("spec.size", "FieldValueTypeInvalid")}),
        ({"size": 1, "shape": "oval"}, {("spec.shape", "FieldValueNotSupported")}),
        ({"size": 1, "parts": [{"value": "1"}]}, {("spec.parts[0].name", "FieldValueRequired")}),
        ({"size": None}, {("spec.size", "FieldValueRequired")}),
        ({"size": 0, "color": 3}, {("spec.size", "FieldValueInvalid"), ("spec.color", "FieldValueTypeInvalid")}),
    ):
        body = gadget("b", world.namespace)
        with pytest.raises(ApiError) as caught:
            await world.client.create(GADGETS, body | {"spec": spec})
        assert is_invalid(caught.value), spec
        assert {(cause["field"], cause["reason"]) for cause in caught.value.causes} == wrong


@everywhere
async def test_custom_objects_say_what_they_are(world: World) -> None:
    """A body must carry the version and the kind of its path."""
    body = gadget("a", world.namespace)
    for wrong, code in (({"apiVersion": "example.com/v2"}, 400), ({"apiVersion": ""}, 400), ({"kind": "Other"}, 422)):
        with pytest.raises(ApiError) as caught:
            await world.transport.request("POST", GADGETS.path(world.namespace), body=body | wrong)
        assert caught.value.status == code, wrong
