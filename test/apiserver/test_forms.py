"""The forms of an answer, and what the server says it serves."""

from __future__ import annotations

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.errors import ApiError
from kaito_controller.testing.fake.gadgets import GADGETS, gadget
from kaito_controller.testing.fake.stage import World, everywhere

META = "g=meta.k8s.io;v=v1"
PARTIAL = f"application/json;as=PartialObjectMetadata;{META}"
PARTIAL_LIST = f"application/json;as=PartialObjectMetadataList;{META}"
TABLE = f"application/json;as=Table;{META}"
ALL = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
INITIAL = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}


def config_map(world: World, name: str) -> Object:
    """A ConfigMap."""
    return {"metadata": {"name": name, "namespace": world.namespace, "labels": {"l": name}}, "data": {"a": "1"}}


async def get(world: World, path: str, accept: str = "application/json", **query: str) -> Object:
    """A raw read."""
    return await world.transport.request("GET", path, query=query, accept=accept)


@everywhere
async def test_metadata_alone(world: World) -> None:
    """Objects, lists and watches come without spec and data when only metadata is asked for; bookmarks, too."""
    made = await world.client.create(CONFIG_MAPS, config_map(world, "a"))
    path = CONFIG_MAPS.path(world.namespace)
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": made["metadata"]}
    assert await get(world, f"{path}/a", PARTIAL) == partial
    listed = await get(world, path, PARTIAL_LIST)
    assert (listed["kind"], listed["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
    assert listed["items"] == [partial]
    async with world.watch(CONFIG_MAPS, accept=PARTIAL, **INITIAL) as watcher:
        added, end = await watcher.take(2)
        await world.client.delete(CONFIG_MAPS, "a", world.namespace)
        deleted = await watcher.next()
    assert added["object"] == partial
    assert end["object"]["kind"] == "PartialObjectMetadata"
    assert end["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert (deleted["type"], deleted["object"]["kind"]) == ("DELETED", "PartialObjectMetadata")
    assert "data" not in deleted["object"]


@everywhere
async def test_errors_in_a_watch_of_metadata(world: World) -> None:
    """An error in the stream is a Status, whatever form was asked for."""
    await world.client.create(GADGETS, gadget("a", world.namespace))
    async with world.watch(GADGETS, accept=PARTIAL, resourceVersion="1") as watcher:
        events = await watcher.rest()
    assert [(event["type"], event["object"]["kind"]) for event in events] == [("ERROR", "Status")]


@everywhere
async def test_tables(world: World) -> None:
    """A table has a row for each object, with its name, the kind's own columns, and the metadata."""
    made = await world.client.create(GADGETS, gadget("a", world.namespace, size=7))
    table = await get(world, GADGETS.path(world.namespace), TABLE)
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    names = [column["name"] for column in table["columnDefinitions"]]
    assert names[:2] == ["Name", "Size"]
    assert table["rows"][0]["cells"][:2] == ["a", 7]
    assert table["rows"][0]["object"]["metadata"] == made["metadata"]
    async with world.watch(GADGETS, accept=TABLE, resourceVersion="0") as watcher:
        event = await watcher.next()
    assert event["object"]["kind"] == "Table"


@everywhere
async def test_what_is_accepted(world: World) -> None:
    """The first form that is served is given, anything is JSON, and what is not served is 406."""
    await world.client.create(CONFIG_MAPS, config_map(world, "a"))
    path = CONFIG_MAPS.path(world.namespace, "a")
    for accept in (f"application/json;as=Unheard;{META},application/json", "*/*", "text/plain, application/json"):
        assert (await get(world, path, accept))["kind"] == "ConfigMap", accept
    for accept in ("text/plain", f"application/json;as=Unheard;{META}"):
        with pytest.raises(ApiError) as caught:
            await get(world, path, accept)
        assert (caught.value.status, caught.value.reason) == (406, "NotAcceptable")


@everywhere
async def test_bodies_in_another_form(world: World) -> None:
    """A patch is no object: a create does not take one, and says which forms it would."""
    path = CONFIG_MAPS.path(world.namespace)
    body = config_map(world, "a")
    with pytest.raises(ApiError) as caught:
        await world.transport.request("POST", path, body=body, content_type="application/merge-patch+json")
    assert (caught.value.status, caught.value.reason) == (415, "UnsupportedMediaType")
    assert "application/json" in caught.value.message


def resources(document: Object) -> dict[tuple[str, str, str], Object]:
    """The resources of an aggregated document, by group, version and plural."""
    return {
        (group["metadata"].get("name", ""), version["version"], entry["resource"]): entry
        for group in document["items"]
        for version in group["versions"]
        for entry in version["resources"]
    }


@pytest.mark.scenario("DM1")
@everywhere
async def test_aggregated_discovery(world: World) -> None:
    """Two requests tell everything: kinds, scope, verbs, short names and subresources."""
    core, groups = await get(world, "/api", ALL), await get(world, "/apis", ALL)
    for document in (core, groups):
        assert (document["kind"], document["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
    found = resources(core) | resources(groups)
    maps = found["", "v1", "configmaps"]
    assert (maps["scope"], maps["singularResource"], maps["shortNames"]) == ("Namespaced", "configmap", ["cm"])
    assert maps["responseKind"]["kind"] == "ConfigMap"
    assert set(maps["verbs"]) == {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
    assert found["", "v1", "nodes"]["scope"] == "Cluster"
    gadgets = found["example.com", "v1", "gadgets"]
    assert gadgets["responseKind"] == {"group": "example.com", "version": "v1", "kind": "Gadget"}
    assert [part["subresource"] for part in gadgets["subresources"]] == ["status"]
    assert found["coordination.k8s.io", "v1", "leases"]["responseKind"]["kind"] == "Lease"
    assert {version["freshness"] for group in groups["items"] for version in group["versions"]} == {"Current"}


@pytest.mark.scenario("DM1")
@everywhere
async def test_discovery_of_one_version(world: World) -> None:
    """The older documents tell the same, group by group."""
    groups = {group["name"]: group for group in (await get(world, "/apis"))["groups"]}
    assert groups["apps"]["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}
    assert (await get(world, "/apis/example.com"))["versions"] == [{"groupVersion": "example.com/v1", "version": "v1"}]
    assert (await get(world, "/api"))["versions"] == ["v1"]
    for path, group_version, entries in (
        ("/api/v1", "v1", {"configmaps", "pods", "pods/status", "pods/eviction", "namespaces/finalize"}),
        ("/apis/example.com/v1", "example.com/v1", {"gadgets", "gadgets/status"}),
    ):
        document = await get(world, path)
        assert (document["kind"], document["groupVersion"]) == ("APIResourceList", group_version)
        assert entries <= {entry["name"] for entry in document["resources"]}
    for path in ("/apis/nobody.example", "/apis/nobody.example/v1", "/apis/example.com/v9", "/apis/apps/v9"):
        with pytest.raises(ApiError) as caught:
            await get(world, path)
        assert caught.value.status == 404


@everywhere
async def test_everything_the_fake_serves_is_served(world: World) -> None:
    """What discovery names can be listed, and what a kind needs to be read is told rightly."""
    found = resources(await get(world, "/api", ALL)) | resources(await get(world, "/apis", ALL))
    for group, version, plural in sorted(found)[:60]:
        entry = found[group, version, plural]
        if "list" not in entry["verbs"] or group in {"flowcontrol.apiserver.k8s.io", "resource.k8s.io"}:
            continue
        namespaced = entry["scope"] == "Namespaced"
        kind = entry["responseKind"]["kind"]
        resource = Resource(group=group, version=version, kind=kind, plural=plural, namespaced=namespaced)
        answer = await get(world, resource.path(), limit="1")
        assert answer["kind"] == resource.list_kind


@everywhere
async def test_the_version(world: World) -> None:
    """The version is that of Kubernetes 1.37."""
    version = await get(world, "/version")
    assert (version["major"], version["minor"]) == ("1", "37")
