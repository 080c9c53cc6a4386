"""Server-side apply: who owns what, conflicts, force, and what is given up."""

from __future__ import annotations

from typing import Any

import pytest

from kaito_controller.kube.core import CONFIG_MAPS, PODS, SERVICES
from kaito_controller.kube.metadata import Object, resource_version
from kaito_controller.machinery.client.apply import Applier, as_applied
from kaito_controller.machinery.errors import ApiError, is_already_exists, is_conflict, is_invalid, is_not_found
from kaito_controller.testing.fake.gadgets import GADGETS
from kaito_controller.testing.fake.stage import World, everywhere


def config_map(world: World, **data: str) -> Object:
    """A ConfigMap with data."""
    return {"metadata": {"name": "a", "namespace": world.namespace}, "data": data}


def gadget(world: World, **spec: Any) -> Object:
    """A gadget."""
    return {"metadata": {"name": "a", "namespace": world.namespace}, "spec": {"size": 1} | spec}


def owners(obj: Object) -> dict[tuple[str, str, str], Any]:
    """What each manager owns, by its name, its way of writing, and the subresource."""
    return {
        (entry["manager"], entry["operation"], entry.get("subresource", "")): entry["fieldsV1"]
        for entry in obj["metadata"].get("managedFields", ())
    }


@pytest.mark.scenario("PT1")
@everywhere
async def test_apply_creates_and_owns(world: World) -> None:
    """What is not there is created, what is named is owned: leaves, but not the name and not the defaults."""
    made = await world.client.apply(GADGETS, gadget(world, plain=["x"]), field_manager="one")
    assert made["spec"] == {"size": 1, "color": "red", "plain": ["x"]}
    assert owners(made) == {("one", "Apply", ""): {"f:spec": {"f:size": {}, "f:plain": {}}}}
    again = await world.client.apply(GADGETS, gadget(world, plain=["x"]), field_manager="one")
    assert resource_version(again) == resource_version(made)


@pytest.mark.scenario("PT2")
@everywhere
async def test_a_conflict_names_every_field(world: World) -> None:
    """Another value for another's field is refused, with a cause for each field; the same value is shared."""
    client = world.client
    await client.apply(CONFIG_MAPS, config_map(world, a="1", b="1"), field_manager="one")
    shared = await client.apply(CONFIG_MAPS, config_map(world, a="1"), field_manager="two", force=False)
    assert owners(shared)["two", "Apply", ""] == {"f:data": {"f:a": {}}}
    with pytest.raises(ApiError) as caught:
        await client.apply(CONFIG_MAPS, config_map(world, a="2", b="2"), field_manager="three", force=False)
    error = caught.value
    assert is_conflict(error)
    assert {(cause["reason"], cause["message"], cause["field"]) for cause in error.causes} == {
        ("FieldManagerConflict", 'conflict with "one"', ".data.a"),
        ("FieldManagerConflict", 'conflict with "one"', ".data.b"),
        ("FieldManagerConflict", 'conflict with "two"', ".data.a"),
    }
    assert error.message.startswith("Apply failed with 3 conflicts: ")
    assert (await client.get(CONFIG_MAPS, "a", world.namespace)) == shared


@pytest.mark.scenario("PT2")
@everywhere
async def test_force_takes_over(world: World) -> None:
    """By force the value is changed, and the others no longer own that field."""
    client = world.client
    await client.apply(CONFIG_MAPS, config_map(world, a="1", b="1"), field_manager="one")
    forced = await client.apply(CONFIG_MAPS, config_map(world, a="2"), field_manager="two", force=True)
    assert forced["data"] == {"a": "2", "b": "1"}
    assert owners(forced) == {
        ("one", "Apply", ""): {"f:data": {"f:b": {}}},
        ("two", "Apply", ""): {"f:data": {"f:a": {}}},
    }


@pytest.mark.scenario("PT3")
@everywhere
async def test_what_is_no_longer_applied_is_removed(world: World) -> None:
    """A field that its only owner leaves out goes; one that another owns, too, stays with that one."""
    client = world.client
    await client.apply(CONFIG_MAPS, config_map(world, a="1", b="1"), field_manager="one")
    await client.apply(CONFIG_MAPS, config_map(world, b="1", c="1"), field_manager="two")
    left = await client.apply(CONFIG_MAPS, config_map(world, d="1"), field_manager="one")
    assert left["data"] == {"b": "1", "c": "1", "d": "1"}
    assert owners(left)["one", "Apply", ""] == {"f:data": {"f:d": {}}}


@pytest.mark.scenario("PT1", "PT3")
@everywhere
async def test_what_was_created_counts_as_applied_once_its_record_says_so(world: World) -> None:
    """Else a field that is applied no longer stays with its creator; the patch that says so is needed once."""
    client, applier = world.client, Applier(client=world.client, field_manager="one")
    made = await applier.create(CONFIG_MAPS, config_map(world, a="1", b="1"))
    assert owners(made) == {("one", "Update", ""): {"f:data": {".": {}, "f:a": {}, "f:b": {}}}}
    patch = as_applied(made, "one")
    assert as_applied(made, "two") == {}
    moved = await client.merge_patch(CONFIG_MAPS, "a", world.namespace, patch)
    assert owners(moved) == {("one", "Apply", ""): owners(made)["one", "Update", ""]}
    assert as_applied(moved, "one") == {}
    applied = await applier.apply(CONFIG_MAPS, config_map(world, b="2"), force=False)
    assert applied["data"] == {"b": "2"}
    with pytest.raises(ApiError) as caught:
        await client.merge_patch(CONFIG_MAPS, "a", world.namespace, patch)
    assert is_conflict(caught.value)


@pytest.mark.scenario("PT1")
@everywhere
async def test_a_field_stays_with_its_creator(world: World) -> None:
    """Why the record must say otherwise: an apply by the same manager removes nothing that its creation owns."""
    applier = Applier(client=world.client, field_manager="one")
    await applier.create(CONFIG_MAPS, config_map(world, a="1", b="1"))
    left = await applier.apply(CONFIG_MAPS, config_map(world, b="2"), force=True)
    assert left["data"] == {"a": "1", "b": "2"}


@everywhere
async def test_what_is_there_is_not_created_over(world: World) -> None:
    """Nor merged into, whosever it is."""
    applier = Applier(client=world.client, field_manager="one")
    theirs = await world.client.create(CONFIG_MAPS, config_map(world, a="1"))
    with pytest.raises(ApiError) as caught:
        await applier.create(CONFIG_MAPS, config_map(world, b="1"))
    assert is_already_exists(caught.value)
    assert await world.client.get(CONFIG_MAPS, "a", world.namespace) == theirs


@pytest.mark.scenario("PT3")
@everywhere
async def test_status_is_applied_apart(world: World) -> None:
    """Through /status only the status is owned and written; a field left out there goes, too."""
    client = world.client
    await client.apply(GADGETS, gadget(world) | {"status": {"phase": "no"}}, field_manager="one")
    body = gadget(world, size=9) | {"status": {"phase": "x", "count": 1}}
    told = await client.apply(GADGETS, body, field_manager="one", subresource="status")
    assert (told["spec"]["size"], told["status"]) == (1, {"phase": "x", "count": 1})
    assert owners(told) == {
        ("one", "Apply", ""): {"f:spec": {"f:size": {}}},
        ("one", "Apply", "status"): {"f:status": {"f:phase": {}, "f:count": {}}},
    }
    less = gadget(world) | {"status": {"phase": "x"}}
    told = await client.apply(GADGETS, less, field_manager="one", subresource="status")
    assert told["status"] == {"phase": "x"}


@everywhere
async def test_status_of_nothing(world: World) -> None:
    """A subresource creates nothing."""
    with pytest.raises(ApiError) as caught:
        await world.client.apply(GADGETS, gadget(world) | {"status": {}}, field_manager="one", subresource="status")
    assert is_not_found(caught.value)


@everywhere
async def test_lists_by_their_kind(world: World) -> None:
    """Keyed items and set members are owned one by one and keep their place; a plain list is one value."""
    client = world.client
    parts = [{"name": "p", "value": "1"}, {"name": "q", "value": "1"}]
    await client.apply(GADGETS, gadget(world, parts=parts, tags=["s", "t"]), field_manager="one")
    theirs = {"parts": [{"name": "q"}, {"name": "r", "value": "2"}], "tags": ["u"]}
    both = await client.apply(GADGETS, gadget(world, **theirs), field_manager="two", force=False)
    assert both["spec"]["parts"] == [*parts, {"name": "r", "value": "2"}]
    assert both["spec"]["tags"] == ["s", "t", "u"]
    with pytest.raises(ApiError) as caught:
        await client.apply(
            GADGETS, gadget(world, parts=[{"name": "p", "value": "3"}]), field_manager="two", force=False
        )
    assert [cause["field"] for cause in caught.value.causes] == ['.spec.parts[name="p"].value']
    left = await client.apply(GADGETS, gadget(world, tags=["t"]), field_manager="one")
    assert left["spec"]["parts"] == [{"name": "q"}, {"name": "r", "value": "2"}]
    assert left["spec"]["tags"] == ["t", "u"]


@everywhere
async def test_lists_of_built_in_kinds(world: World) -> None:
    """Containers, their ports and environment, service ports and owner references are keyed in built-in kinds."""
    client = world.client
    first = {"name": "main", "image": "i", "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 80}]}
    pod = {"metadata": {"name": "p", "namespace": world.namespace}, "spec": {"containers": [first]}}
    await client.apply(PODS, pod, field_manager="one")
    other = {"name": "main", "image": "j", "env": [{"name": "A", "value": "2"}]}
    with pytest.raises(ApiError) as caught:
        await client.apply(PODS, pod | {"spec": {"containers": [other]}}, field_manager="two", force=False)
    assert {cause["field"] for cause in caught.value.causes} == {
        '.spec.containers[name="main"].image',
        '.spec.containers[name="main"].env[name="A"].value',
    }
    owned = owners(await client.get(PODS, "p", world.namespace))["one", "Apply", ""]
    container = owned["f:spec"]["f:containers"]['k:{"name":"main"}']
    assert list(container["f:ports"]) == ['k:{"containerPort":80,"protocol":"TCP"}']
    service = {"metadata": {"name": "s", "namespace": world.namespace}}
    ports = [{"name": "web", "port": 80}]
    await client.apply(SERVICES, service | {"spec": {"ports": ports}}, field_manager="one")
    more = [{"name": "metrics", "port": 90}]
    both = await client.apply(SERVICES, service | {"spec": {"ports": more}}, field_manager="two", force=False)
    assert [port["port"] for port in both["spec"]["ports"]] == [80, 90]


@everywhere
async def test_updates_take_what_they_change(world: World) -> None:
    """An update owns what it changed, and a later apply of another value conflicts with it, told with its version."""
    client = world.client
    await client.apply(CONFIG_MAPS, config_map(world, a="1", b="1"), field_manager="one")
    changed = await client.merge_patch(CONFIG_MAPS, "a", world.namespace, {"data": {"a": "2"}})
    assert owners(changed) == {
        ("one", "Apply", ""): {"f:data": {"f:b": {}}},
        ("tester", "Update", ""): {"f:data": {"f:a": {}}},
    }
    with pytest.raises(ApiError) as caught:
        await client.apply(CONFIG_MAPS, config_map(world, a="1", b="1"), field_manager="one", force=False)
    assert caught.value.causes[0]["message"] == 'conflict with "tester" using v1'


@everywhere
async def test_the_first_apply_of_what_nobody_owns(world: World) -> None:
    """An object whose owners were wiped off belongs to nobody in particular, who defends it."""
    client = world.client
    await client.create(CONFIG_MAPS, config_map(world, a="1", b="1"))
    await client.merge_patch(CONFIG_MAPS, "a", world.namespace, {"metadata": {"managedFields": [{}]}})
    with pytest.raises(ApiError) as caught:
        await client.apply(CONFIG_MAPS, config_map(world, a="2"), field_manager="one", force=False)
    assert caught.value.causes[0]["message"] == 'conflict with "before-first-apply" using v1'


@everywhere
async def test_applies_that_are_refused(world: World) -> None:
    """Without manager, with records, of another kind, at another version, with unknown or doubled parts."""
    client = world.client
    await client.apply(GADGETS, gadget(world), field_manager="one")
    path = GADGETS.path(world.namespace, "a")
    whole = {"apiVersion": GADGETS.api_version, "kind": GADGETS.kind} | gadget(world)
    head = whole["metadata"]
    twice = [{"name": "p"}, {"name": "p"}]
    for body, manager, code in (
        (whole, "", 422),
        (whole | {"metadata": head | {"managedFields": [{}]}}, "one", 400),
        (whole | {"kind": "Other"}, "one", 400),
        (gadget(world), "one", 400),
        (whole | {"metadata": head | {"name": "b"}}, "one", 400),
        (whole | {"metadata": head | {"resourceVersion": "1"}, "spec": {"size": 2}}, "one", 409),
        (whole | {"spec": {"size": 1, "nothing": 1}}, "one", 500),
        (whole | {"spec": {"size": 1, "parts": twice}}, "one", 500),
        (whole | {"spec": {"size": 0}}, "one", 422),
    ):
        query = {"fieldManager": manager} if manager else {}
        with pytest.raises(ApiError) as caught:
            await world.transport.request(
                "PATCH", path, query=query, body=body, content_type="application/apply-patch+yaml", retry=False
            )
        assert caught.value.status == code, body


@everywhere
async def test_force_is_for_applies(world: World) -> None:
    """Another patch may not be forced."""
    await world.client.create(CONFIG_MAPS, config_map(world, a="1"))
    with pytest.raises(ApiError) as caught:
        await world.transport.request(
            "PATCH",
            CONFIG_MAPS.path(world.namespace, "a"),
            query={"force": "true"},
            body={"data": {"a": "2"}},
            content_type="application/merge-patch+json",
        )
    assert is_invalid(caught.value)
