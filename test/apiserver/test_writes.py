"""Creates, updates, patches and deletes, and what each needs to be true."""

from __future__ import annotations

import pytest

from kaito_controller.kube.core import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, POD_DISRUPTION_BUDGETS, PODS
from kaito_controller.kube.metadata import Object, generation, is_deleting, name, resource_version, uid
from kaito_controller.machinery.errors import (
    ApiError,
    is_already_exists,
    is_conflict,
    is_invalid,
    is_not_found,
    is_too_many_requests,
)
from kaito_controller.testing.fake.gadgets import GADGETS, gadget
from kaito_controller.testing.fake.stage import World, everywhere

FINALIZER = "example.com/keep"
JSON_PATCH = "application/json-patch+json"


def config_map(world: World, name: str = "", **head: object) -> Object:
    """A ConfigMap."""
    return {"metadata": {"name": name, "namespace": world.namespace} | head, "data": {"a": "1"}}


async def send(world: World, method: str, path: str, body: object = None, **options: str) -> Object:
    """A raw request, without patience."""
    content_type = options.pop("content_type", "application/json")
    return await world.transport.request(
        method,
        path,
        body=body,  # type: ignore[arg-type]
        query=options,
        content_type=content_type,
        retry=False,
    )


async def refused(world: World, method: str, path: str, body: object = None, **options: str) -> ApiError:
    """The refusal of a raw request."""
    with pytest.raises(ApiError) as caught:
        await send(world, method, path, body, **options)
    return caught.value


@everywhere
async def test_create_fills_in_the_metadata(world: World) -> None:
    """A new object has UID, time, version and who wrote what; what only the server decides is not taken over."""
    head = {"uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "generation": 7, "deletionTimestamp": None}
    made = await world.client.create(GADGETS, gadget("a", world.namespace) | {"metadata": {
        "name": "a", "namespace": world.namespace} | head, "status": {"phase": "x"}})  # fmt: skip
    assert uid(made) not in {"", "mine"}
    assert not made["metadata"]["creationTimestamp"].startswith("2001")
    assert generation(made) == 1
    assert "status" not in made
    assert made["spec"] == {"size": 1, "color": "red"}
    assert [entry["manager"] for entry in made["metadata"]["managedFields"]] == ["tester"]
    assert made == await world.client.get(GADGETS, "a", world.namespace)


@everywhere
async def test_a_name_is_taken(world: World) -> None:
    """409 AlreadyExists, even when everything is the same."""
    await world.client.create(CONFIG_MAPS, config_map(world, "a"))
    with pytest.raises(ApiError) as caught:
        await world.client.create(CONFIG_MAPS, config_map(world, "a"))
    assert is_already_exists(caught.value)
    assert not is_conflict(caught.value)
    assert caught.value.details == {"name": "a", "kind": "configmaps"}


@everywhere
async def test_generated_names(world: World) -> None:
    """`generateName` makes a new name of it each time, five letters and digits longer; the prefix stays on record."""
    made = [await world.client.create(CONFIG_MAPS, config_map(world, generateName="new-")) for _ in range(3)]
    names = {name(obj) for obj in made}
    assert len(names) == 3
    assert all(each.startswith("new-") and len(each) == len("new-") + 5 for each in names)
    assert {obj["metadata"]["generateName"] for obj in made} == {"new-"}


@everywhere
async def test_creates_that_are_refused(world: World) -> None:
    """No name, a bad name, another namespace, another kind, a version, or a namespace that is not there."""
    path = CONFIG_MAPS.path(world.namespace)
    for body, code, reason in (
        ({"metadata": {}}, 422, "Invalid"),
        ({"metadata": {"name": "A_b"}}, 422, "Invalid"),
        ({"metadata": {"name": "a", "namespace": "other"}}, 400, "BadRequest"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}, 400, "BadRequest"),
        ({"metadata": {"name": "a", "resourceVersion": "5"}}, 500, ""),
    ):
        error = await refused(world, "POST", path, body)
        assert (error.status, error.reason) == (code, reason), body
    error = await refused(world, "POST", CONFIG_MAPS.path("not-there"), {"metadata": {"name": "a"}})
    assert is_not_found(error)
    assert error.message == 'namespaces "not-there" not found'


@everywhere
async def test_an_update_of_another_version(world: World) -> None:
    """409 Conflict for a version that is no longer the current one, and for another UID; nothing has changed."""
    old = await world.client.create(CONFIG_MAPS, config_map(world, "a"))
    new = await world.client.merge_patch(CONFIG_MAPS, "a", world.namespace, {"data": {"a": "2"}})
    with pytest.raises(ApiError) as caught:
        await world.client.update(CONFIG_MAPS, old)
    assert is_conflict(caught.value)
    assert caught.value.reason == "Conflict"
    assert "the object has been modified" in caught.value.message
    other = new | {"metadata": new["metadata"] | {"uid": "another"}}
    with pytest.raises(ApiError) as caught:
        await world.client.update(CONFIG_MAPS, other)
    assert is_conflict(caught.value)
    assert await world.client.get(CONFIG_MAPS, "a", world.namespace) == new


@everywhere
async def test_updates_without_a_version(world: World) -> None:
    """Most built-in kinds may be replaced blindly; custom kinds may not."""
    await world.client.create(CONFIG_MAPS, config_map(world, "a"))
    replaced = await world.client.update(CONFIG_MAPS, config_map(world, "a") | {"data": {"b": "1"}})
    assert replaced["data"] == {"b": "1"}
    await world.client.create(GADGETS, gadget("a", world.namespace))
    with pytest.raises(ApiError) as caught:
        await world.client.update(GADGETS, gadget("a", world.namespace, size=2))
    assert is_invalid(caught.value)
    assert caught.value.causes[0]["field"] == "metadata.resourceVersion"


@everywhere
async def test_updates_that_are_refused(world: World) -> None:
    """What is not there, another name than the path's, and no name."""
    await world.client.create(CONFIG_MAPS, config_map(world, "a"))
    path = CONFIG_MAPS.path(world.namespace, "a")
    missing = CONFIG_MAPS.path(world.namespace, "b")
    assert is_not_found(await refused(world, "PUT", missing, {"metadata": {"name": "b"}}))
    for body in ({"metadata": {"name": "b"}}, {"metadata": {}}):
        assert (await refused(world, "PUT", path, body)).status == 400


@pytest.mark.scenario("PT3")
@everywhere
async def test_status_has_a_path_of_its_own(world: World) -> None:
    """Through /status nothing but the status is written, elsewhere everything but; the generation counts the spec."""
    client = world.client
    made = await client.create(GADGETS, gadget("a", world.namespace))
    patch = {"spec": {"size": 9}, "status": {"phase": "x"}, "metadata": {"labels": {"l": "1"}}}
    told = await client.merge_patch(GADGETS, "a", world.namespace, patch, subresource="status")
    assert (told["spec"], told["status"], generation(told)) == (made["spec"], {"phase": "x"}, 1)
    assert "labels" not in told["metadata"]
    grown = await client.update(GADGETS, told | {"spec": {"size": 2}, "status": {"phase": "y"}})
    assert (grown["spec"]["size"], grown["status"], generation(grown)) == (2, {"phase": "x"}, 2)
    labelled = await client.merge_patch(GADGETS, "a", world.namespace, {"metadata": {"labels": {"l": "1"}}})
    assert generation(labelled) == 2
    assert (await client.get(GADGETS, "a", world.namespace))["status"] == {"phase": "x"}


@pytest.mark.scenario("PR3")
@everywhere
async def test_generations_of_deployments(world: World) -> None:
    """A Deployment counts a change of its annotations as a generation, but none of its labels."""
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    head = {"name": "a", "namespace": world.namespace}
    made = await world.client.create(DEPLOYMENTS, {"metadata": head, "spec": spec})
    labelled = await world.client.merge_patch(DEPLOYMENTS, "a", world.namespace, {"metadata": {"labels": {"l": "1"}}})
    patch = {"metadata": {"annotations": {"example.com/a": "1"}}}
    noted = await world.client.merge_patch(DEPLOYMENTS, "a", world.namespace, patch)
    assert [generation(obj) for obj in (made, labelled, noted)] == [1, 1, 2]


@pytest.mark.scenario("PT4")
@everywhere
async def test_merge_patches(world: World) -> None:
    """Objects merge, null removes, lists are replaced whole; a stale version in the patch is a conflict."""
    client = world.client
    body = gadget("a", world.namespace, plain=["1", "2"], settings={"x": "1", "y": "1"})
    made = await client.create(GADGETS, body)
    patch = {"spec": {"plain": ["3"], "settings": {"x": None, "z": "2"}}}
    patched = await client.merge_patch(GADGETS, "a", world.namespace, patch)
    assert patched["spec"]["plain"] == ["3"]
    assert patched["spec"]["settings"] == {"y": "1", "z": "2"}
    stale = {"metadata": {"resourceVersion": resource_version(made)}, "spec": {"size": 5}}
    with pytest.raises(ApiError) as caught:
        await client.merge_patch(GADGETS, "a", world.namespace, stale)
    assert is_conflict(caught.value)
    fresh = {"metadata": {"resourceVersion": resource_version(patched)}, "spec": {"size": 5}}
    assert (await client.merge_patch(GADGETS, "a", world.namespace, fresh))["spec"]["size"] == 5


@everywhere
async def test_json_patches(world: World) -> None:
    """Operations are carried out in order, all or none."""
    await world.client.create(GADGETS, gadget("a", world.namespace, plain=["1", "2"]))
    path = GADGETS.path(world.namespace, "a")
    good = [
        {"op": "test", "path": "/spec/plain/0", "value": "1"},
        {"op": "add", "path": "/spec/plain/-", "value": "4"},
        {"op": "add", "path": "/spec/plain/2", "value": "3"},
        {"op": "remove", "path": "/spec/plain/0"},
        {"op": "replace", "path": "/spec/size", "value": 7},
        {"op": "add", "path": "/metadata/annotations", "value": {"example.com/a": "1"}},
        {"op": "copy", "from": "/spec/color", "path": "/metadata/annotations/example.com~1b"},
        {"op": "move", "from": "/metadata/annotations/example.com~1a", "path": "/metadata/annotations/c"},
    ]
    patched = await send(world, "PATCH", path, good, content_type=JSON_PATCH)
    assert (patched["spec"]["plain"], patched["spec"]["size"]) == (["2", "3", "4"], 7)
    assert patched["metadata"]["annotations"] == {"example.com/b": "red", "c": "1"}
    for bad in (
        [{"op": "add", "path": "/spec/size", "value": 8}, {"op": "test", "path": "/spec/size", "value": 9}],
        [{"op": "remove", "path": "/spec/nothing"}],
        [{"op": "replace", "path": "/spec/plain/9", "value": "x"}],
    ):
        error = await refused(world, "PATCH", path, bad, content_type=JSON_PATCH)
        assert (error.status, error.reason) == (422, "Invalid"), bad
    assert (await refused(world, "PATCH", path, {"op": "add"}, content_type=JSON_PATCH)).status == 400
    assert await world.client.get(GADGETS, "a", world.namespace) == patched


@everywhere
async def test_patches_that_are_refused(world: World) -> None:
    """Of what is not there, of another name, of another UID, and in a form that nobody reads."""
    await world.client.create(GADGETS, gadget("a", world.namespace))
    path = GADGETS.path(world.namespace, "a")
    merge = "application/merge-patch+json"
    missing = GADGETS.path(world.namespace, "b")
    assert is_not_found(await refused(world, "PATCH", missing, {"spec": {}}, content_type=merge))
    assert (await refused(world, "PATCH", path, {"metadata": {"name": "b"}}, content_type=merge)).status == 400
    assert is_invalid(await refused(world, "PATCH", path, {"metadata": {"uid": "b"}}, content_type=merge))
    assert is_invalid(await refused(world, "PATCH", path, {"spec": {"size": 0}}, content_type=merge))
    for content_type in ("application/json", "application/strategic-merge-patch+json"):
        error = await refused(world, "PATCH", path, {"spec": {"size": 3}}, content_type=content_type)
        assert (error.status, error.reason) == (415, "UnsupportedMediaType")


@everywhere
async def test_deletion_waits_for_finalizers(world: World) -> None:
    """With a finalizer an object is only marked, and its generation counted; with the last finalizer it goes."""
    client = world.client
    body = gadget("a", world.namespace)
    body["metadata"]["finalizers"] = [FINALIZER]
    made = await client.create(GADGETS, body)
    async with world.watch(GADGETS, resourceVersion=resource_version(made)) as watcher:
        await client.delete(GADGETS, "a", world.namespace)
        marked = await client.get(GADGETS, "a", world.namespace)
        assert is_deleting(marked)
        assert (marked["metadata"]["deletionGracePeriodSeconds"], generation(marked)) == (0, 2)
        await client.delete(GADGETS, "a", world.namespace)
        assert await client.get(GADGETS, "a", world.namespace) == marked
        patch = {"metadata": {"finalizers": [FINALIZER, "example.com/more"]}}
        with pytest.raises(ApiError) as caught:
            await client.merge_patch(GADGETS, "a", world.namespace, patch)
        assert is_invalid(caught.value)
        answer = await client.merge_patch(GADGETS, "a", world.namespace, {"metadata": {"finalizers": None}})
        events = await watcher.take(2)
    assert "finalizers" not in answer["metadata"]
    assert [event["type"] for event in events] == ["MODIFIED", "DELETED"]
    assert events[0]["object"] == marked
    assert events[1]["object"]["metadata"]["finalizers"] == [FINALIZER]
    assert int(resource_version(events[1]["object"])) > int(resource_version(marked))
    with pytest.raises(ApiError) as caught:
        await client.get(GADGETS, "a", world.namespace)
    assert is_not_found(caught.value)


@everywhere
async def test_delete_preconditions(world: World) -> None:
    """Another UID or another version is a conflict, and the object stays."""
    made = await world.client.create(CONFIG_MAPS, config_map(world, "a"))
    path = CONFIG_MAPS.path(world.namespace, "a")
    for wanted in ({"uid": "another"}, {"resourceVersion": "1"}):
        error = await refused(world, "DELETE", path, {"preconditions": wanted})
        assert is_conflict(error)
        assert error.details == {"name": "a", "kind": "ConfigMap"}
    right = {"uid": uid(made), "resourceVersion": resource_version(made)}
    answer = await send(world, "DELETE", path, {"preconditions": right})
    assert (answer["kind"], answer["status"]) == ("Status", "Success")
    assert answer["details"] == {"name": "a", "kind": "configmaps", "uid": uid(made)}
    assert is_not_found(await refused(world, "DELETE", path))


@everywhere
async def test_propagation(world: World) -> None:
    """Foreground and Orphan leave a finalizer for the garbage collector; Background and none do not."""
    for policy, finalizers in (("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"])):
        await world.client.create(CONFIG_MAPS, config_map(world, policy.lower()))
        path = CONFIG_MAPS.path(world.namespace, policy.lower())
        marked = await send(world, "DELETE", path, {"propagationPolicy": policy})
        assert is_deleting(marked)
        assert marked["metadata"]["finalizers"] == finalizers
    for body in ({"propagationPolicy": "Background"}, {}):
        await world.client.create(CONFIG_MAPS, config_map(world, "a"))
        answer = await send(world, "DELETE", CONFIG_MAPS.path(world.namespace, "a"), body)
        assert answer["status"] == "Success"
    error = await refused(world, "DELETE", path, {"propagationPolicy": "Whatever"})
    assert is_invalid(error)


@everywhere
async def test_pods_are_deleted_gracefully(world: World) -> None:
    """A pod on a node stays until its grace period is taken away; one that is on none goes at once."""
    client = world.client
    for each, spec in (("on", {"nodeName": "n"}), ("off", {})):
        containers = {"containers": [{"name": "c", "image": "i"}]}
        await client.create(PODS, {"metadata": {"name": each, "namespace": world.namespace}, "spec": spec | containers})
    await client.delete(PODS, "off", world.namespace)
    assert is_not_found(await refused(world, "GET", PODS.path(world.namespace, "off")))
    await client.delete(PODS, "on", world.namespace)
    marked = await client.get(PODS, "on", world.namespace)
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30
    assert generation(marked) == 2
    sooner = await send(world, "DELETE", PODS.path(world.namespace, "on"), {"gracePeriodSeconds": 5})
    assert sooner["metadata"]["deletionGracePeriodSeconds"] == 5
    assert generation(sooner) == 2
    await send(world, "DELETE", PODS.path(world.namespace, "on"), {"gracePeriodSeconds": 0})
    assert is_not_found(await refused(world, "GET", PODS.path(world.namespace, "on")))


@everywhere
async def test_evictions(world: World) -> None:
    """A budget without allowance refuses an eviction with 429 and says which; with one, the pod is deleted."""
    client = world.client
    head = {"name": "a", "namespace": world.namespace}
    containers = {"containers": [{"name": "c", "image": "i"}]}
    await client.create(PODS, {"metadata": head | {"labels": {"l": "1"}}, "spec": containers})
    running = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await client.merge_patch(PODS, "a", world.namespace, {"status": running}, subresource="status")
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"l": "1"}}}
    await client.create(POD_DISRUPTION_BUDGETS, {"metadata": head, "spec": spec})
    state = {"observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}
    for allowed in (None, 0, 1):
        if allowed is not None:
            patch = {"status": state | {"disruptionsAllowed": allowed}}
            await client.merge_patch(POD_DISRUPTION_BUDGETS, "a", world.namespace, patch, subresource="status")
        if allowed == 1:
            break
        with pytest.raises(ApiError) as caught:
            await client.evict("a", world.namespace)
        assert is_too_many_requests(caught.value)
        assert caught.value.causes[0]["reason"] == "DisruptionBudget"
        assert caught.value.retry_after_s == (10 if allowed is None else None)
    await client.evict("a", world.namespace)
    assert is_not_found(await refused(world, "GET", PODS.path(world.namespace, "a")))


@everywhere
async def test_delete_a_collection(world: World) -> None:
    """Everything that matches goes, the rest stays; what went is listed."""
    for each in "abc":
        await world.client.create(CONFIG_MAPS, config_map(world, each, labels={"l": each}))
    answer = await send(world, "DELETE", CONFIG_MAPS.path(world.namespace), labelSelector="l in (a,b)")
    assert [name(item) for item in answer["items"]] == ["a", "b"]
    left = await world.client.list(CONFIG_MAPS, world.namespace)
    assert [name(item) for item in left] == ["c"]


@everywhere
async def test_a_namespace_goes_in_two_steps(world: World) -> None:
    """A namespace that was deleted is Terminating and takes nothing new, until its own finalizer is taken away."""
    client = world.client
    space = f"{world.namespace}-gone"
    made = await client.create(NAMESPACES, {"metadata": {"name": space}})
    assert (made["spec"], made["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": space}
    await client.delete(NAMESPACES, space)
    marked = await client.get(NAMESPACES, space)
    assert is_deleting(marked)
    assert marked["status"] == {"phase": "Terminating"}
    error = await refused(world, "POST", CONFIG_MAPS.path(space), {"metadata": {"name": "a"}})
    assert (error.status, error.reason) == (403, "Forbidden")
    assert error.causes[0]["reason"] == "NamespaceTerminating"
    await send(world, "PUT", NAMESPACES.path(None, space, "finalize"), marked | {"spec": {"finalizers": []}})
    assert is_not_found(await refused(world, "GET", NAMESPACES.path(None, space)))


@everywhere
async def test_dry_runs(world: World) -> None:
    """A dry run is checked and answered as if it happened, and nothing is stored."""
    path = CONFIG_MAPS.path(world.namespace)
    made = await send(world, "POST", path, config_map(world, "a"), dryRun="All")
    assert made["data"] == {"a": "1"}
    assert is_not_found(await refused(world, "GET", f"{path}/a"))
    await world.client.create(CONFIG_MAPS, config_map(world, "a"))
    patch = {"data": {"a": "2"}}
    changed = await send(world, "PATCH", f"{path}/a", patch, content_type="application/merge-patch+json", dryRun="All")
    assert changed["data"] == {"a": "2"}
    await send(world, "DELETE", f"{path}/a", dryRun="All")
    assert (await world.client.get(CONFIG_MAPS, "a", world.namespace))["data"] == {"a": "1"}


@everywhere
async def test_methods_that_a_path_does_not_have(world: World) -> None:
    """405 for a method that is there, but not on this path."""
    path = CONFIG_MAPS.path(world.namespace)
    merge = "application/merge-patch+json"
    for method, where in (("PUT", path), ("POST", f"{path}/a"), ("DELETE", NAMESPACES.path())):
        error = await refused(world, method, where, config_map(world, "a"))
        assert (error.status, error.reason) == (405, "MethodNotAllowed")
    assert (await refused(world, "PATCH", path, {}, content_type=merge)).status == 405
