"""GET of objects and collections: versions, pages, selectors, and what is not there."""

from __future__ import annotations

import asyncio

import pytest

from kaito_controller.kube.core import CONFIG_MAPS, NODES, PODS
from kaito_controller.kube.metadata import Object, name, resource_version
from kaito_controller.machinery.errors import ApiError, is_gone, is_not_found, is_too_large_resource_version
from kaito_controller.testing.fake.gadgets import GADGETS, gadget
from kaito_controller.testing.fake.stage import World, everywhere

FUTURE = "100000000000"


def config_map(world: World, name: str, **labels: str) -> Object:
    """A ConfigMap with labels."""
    return {"metadata": {"name": name, "namespace": world.namespace, "labels": labels}, "data": {"a": "1"}}


async def listed(world: World, **query: str) -> Object:
    """The raw answer to a list of ConfigMaps, without patience."""
    path = CONFIG_MAPS.path(world.namespace)
    return await world.transport.request("GET", path, query=query, retry=False)


async def refused(world: World, method: str, path: str, **query: str) -> ApiError:
    """The refusal of a request."""
    with pytest.raises(ApiError) as caught:
        await world.transport.request(method, path, query=query, retry=False)
    return caught.value


@everywhere
async def test_a_missing_object_is_named(world: World) -> None:
    """404 NotFound carries name, kind and group."""
    error = await refused(world, "GET", GADGETS.path(world.namespace, "none"))
    assert is_not_found(error)
    assert error.message == 'gadgets.example.com "none" not found'
    assert error.details == {"name": "none", "group": "example.com", "kind": "gadgets"}


@everywhere
async def test_what_is_served_nowhere(world: World) -> None:
    """Unknown kinds, groups, versions and subresources are 404; the server's own groups say it in a Status."""
    for path in ("/api/v1/nothings", "/apis/apps/v9/deployments", f"{PODS.path(world.namespace, 'x')}/nothing"):
        error = await refused(world, "GET", path)
        assert (error.status, error.reason, error.message) == (
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    for path in ("/apis/nobody.example/v1/things", "/apis/example.com/v9/gadgets", "/nothing"):
        error = await refused(world, "GET", path)
        assert (error.status, error.message) == (404, "404 page not found")


@everywhere
async def test_the_order_of_a_list(world: World) -> None:
    """Objects come sorted by namespace and name; items of built-in kinds do not say what they are, others do."""
    for each in ("b", "a-a", "a"):
        await world.client.create(CONFIG_MAPS, config_map(world, each))
        await world.client.create(GADGETS, gadget(each, world.namespace))
    maps = await listed(world)
    gadgets = await world.transport.request("GET", GADGETS.path(world.namespace))
    for answer in (maps, gadgets):
        assert [name(item) for item in answer["items"]] == ["a", "a-a", "b"]
    assert (maps["kind"], gadgets["kind"]) == ("ConfigMapList", "GadgetList")
    assert "kind" not in maps["items"][0]
    assert gadgets["items"][0]["kind"] == "Gadget"


@everywhere
async def test_pages(world: World) -> None:
    """Every page is of the version of the first one, says how many are left, and the last one has no token (RF3)."""
    for each in "abcde":
        await world.client.create(CONFIG_MAPS, config_map(world, each))
    first = await listed(world, limit="2")
    head = first["metadata"]
    assert ([name(item) for item in first["items"]], head["remainingItemCount"]) == (["a", "b"], 3)
    await world.client.create(CONFIG_MAPS, config_map(world, "bb"))
    await world.client.delete(CONFIG_MAPS, "e", world.namespace)
    second = await listed(world, limit="2", **{"continue": head["continue"]})
    third = await listed(world, limit="2", **{"continue": second["metadata"]["continue"]})
    assert [name(item) for item in second["items"] + third["items"]] == ["c", "d", "e"]
    assert {page["metadata"]["resourceVersion"] for page in (first, second, third)} == {head["resourceVersion"]}
    assert not third["metadata"].get("continue")
    assert "remainingItemCount" not in third["metadata"]


@everywhere
async def test_a_page_of_a_selection_counts_nothing(world: World) -> None:
    """With a selector the number of remaining objects is not told."""
    for each in "abc":
        await world.client.create(CONFIG_MAPS, config_map(world, each, l=each))
    page = await listed(world, limit="1", labelSelector="l in (a,b)")
    assert page["metadata"]["continue"]
    assert "remainingItemCount" not in page["metadata"]


@pytest.mark.scenario("RF1")
@everywhere
async def test_version_0_ignores_the_limit(world: World) -> None:
    """A list at version 0 comes whole, limit or not."""
    for each in "abc":
        last = await world.client.create(CONFIG_MAPS, config_map(world, each))
    # A cache may lag behind: it is brought up to the last write first.
    await listed(world, resourceVersion=resource_version(last), resourceVersionMatch="NotOlderThan")
    page = await listed(world, resourceVersion="0", limit="2")
    assert len(page["items"]) == 3
    assert not page["metadata"].get("continue")


@everywhere
async def test_a_list_not_older_than_a_version(world: World) -> None:
    """A version without a match, and NotOlderThan, mean: that one or a newer one."""
    first = await world.client.create(CONFIG_MAPS, config_map(world, "a"))
    await world.client.create(CONFIG_MAPS, config_map(world, "b"))
    for match in ({}, {"resourceVersionMatch": "NotOlderThan"}):
        page = await listed(world, resourceVersion=resource_version(first), **match)
        assert int(resource_version(page)) >= int(resource_version(first))
    newest = await listed(world)
    assert len(newest["items"]) == 2


@everywhere
async def test_a_list_of_an_exact_version(world: World) -> None:
    """Exact, and of old a limit beside a version, show what was there then, and carry that version."""
    first = await world.client.create(CONFIG_MAPS, config_map(world, "a"))
    await world.client.create(CONFIG_MAPS, config_map(world, "b"))
    await world.client.merge_patch(CONFIG_MAPS, "a", world.namespace, {"data": {"a": "2"}})
    then = resource_version(first)
    for query in ({"resourceVersionMatch": "Exact"}, {"limit": "9"}):
        page = await listed(world, resourceVersion=then, **query)
        assert [(name(item), item["data"]) for item in page["items"]] == [("a", {"a": "1"})]
        assert resource_version(page) == then
    await world.client.delete(CONFIG_MAPS, "a", world.namespace)
    page = await listed(world, resourceVersion=then, resourceVersionMatch="Exact")
    assert [name(item) for item in page["items"]] == ["a"]


@pytest.mark.scenario("RF23", "RF6")
@everywhere
async def test_a_version_of_the_future(world: World) -> None:
    """A read waits three seconds for it, then is refused as too large, with the wish to come back in one (RF6)."""
    await world.client.create(CONFIG_MAPS, config_map(world, "a"))
    began = world.clock.monotonic()
    path = CONFIG_MAPS.path(world.namespace)
    ask = {"resourceVersion": FUTURE}
    errors = await asyncio.gather(
        refused(world, "GET", path, **ask),
        refused(world, "GET", f"{path}/a", **ask),
        refused(world, "GET", path, resourceVersionMatch="NotOlderThan", **ask),
    )
    waited = world.clock.monotonic() - began
    assert 2.5 < waited < 6
    if world.virtual:
        assert waited == 3.0
    for error in errors:
        assert is_too_large_resource_version(error)
        assert (error.status, error.reason, error.retry_after_s) == (504, "Timeout", 1.0)
        assert error.details["retryAfterSeconds"] == 1
        assert f"Too large resource version: {FUTURE}, current: " in error.message


@pytest.mark.scenario("RF23")
@everywhere
async def test_a_version_that_comes_in_time(world: World) -> None:
    """A read of the near future is answered as soon as that is there."""
    made = await world.client.create(GADGETS, gadget("a", world.namespace))
    ask = {"resourceVersion": str(int(resource_version(made)) + 5)}
    reading = asyncio.create_task(world.transport.request("GET", GADGETS.path(world.namespace), query=ask, retry=False))
    for size in range(2, 10):
        await world.client.merge_patch(GADGETS, "a", world.namespace, {"spec": {"size": size}})
    page = await reading
    assert int(resource_version(page)) >= int(ask["resourceVersion"])


@everywhere
async def test_versions_and_tokens_that_make_no_sense(world: World) -> None:
    """What is no number and no token is a bad request; so are a token beside a version, and wild combinations."""
    await world.client.create(CONFIG_MAPS, config_map(world, "a"))
    await world.client.create(CONFIG_MAPS, config_map(world, "b"))
    path = CONFIG_MAPS.path(world.namespace)
    token = (await listed(world, limit="1"))["metadata"]["continue"]
    for query in (
        {"resourceVersion": "abc"},
        {"limit": "abc"},
        {"continue": "abc"},
        {"continue": token, "resourceVersion": "5"},
    ):
        assert (await refused(world, "GET", path, **query)).status == 400, query
    for query, field in (
        ({"resourceVersionMatch": "Exact"}, "resourceVersionMatch"),
        ({"resourceVersionMatch": "Exact", "resourceVersion": "0"}, "resourceVersionMatch"),
        ({"resourceVersionMatch": "Nearly", "resourceVersion": "5"}, "resourceVersionMatch"),
        ({"resourceVersionMatch": "Exact", "resourceVersion": "5", "continue": token}, "resourceVersionMatch"),
        ({"sendInitialEvents": "true"}, "sendInitialEvents"),
    ):
        error = await refused(world, "GET", path, **query)
        assert (error.status, error.reason) == (422, "Invalid"), query
        assert {cause["field"] for cause in error.causes} == {field}


@everywhere
async def test_an_exact_version_from_before_everything(world: World) -> None:
    """The first version of all shows nothing of what is there now; or it is gone, which a server may be long."""
    await world.client.create(CONFIG_MAPS, config_map(world, "a"))
    try:
        page = await listed(world, resourceVersion="1", resourceVersionMatch="Exact")
    except ApiError as error:
        if not is_gone(error):
            raise
    else:
        assert page["items"] == []


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("l", "ab"),
        ("!l", "c"),
        ("l=x", "a"),
        ("l==x", "a"),
        ("l!=x", "bc"),
        ("l in (x,y)", "ab"),
        ("l notin (x)", "bc"),
        ("l=x,m=1", "a"),
        ("l=x,m=2", ""),
        ("m>0", "ab"),
        ("m<7", "a"),
        ("n=", "b"),
        ("", "abc"),
    ],
)
@everywhere
async def test_label_selectors(world: World, selector: str, found: str) -> None:
    """Equality, sets, presence and numbers select as documented; an absent label is in no set and outside of all."""
    for each, labels in (("a", {"l": "x", "m": "1"}), ("b", {"l": "y", "m": "7", "n": ""}), ("c", {})):
        await world.client.create(CONFIG_MAPS, config_map(world, each, **labels))
    page = await listed(world, labelSelector=selector)
    assert "".join(name(item) for item in page["items"]) == found


@everywhere
async def test_field_selectors(world: World) -> None:
    """Name and namespace select everywhere, declared fields where they are declared."""
    for each, color in (("a", "red"), ("b", "blue")):
        await world.client.create(GADGETS, gadget(each, world.namespace, color=color))
        await world.client.create(CONFIG_MAPS, config_map(world, each))
    for resource, selector in (
        (GADGETS, "spec.color=blue"),
        (GADGETS, "spec.color!=red,metadata.name=b"),
        (CONFIG_MAPS, "metadata.name=b"),
        (CONFIG_MAPS, f"metadata.name!=a,metadata.namespace={world.namespace}"),
    ):
        found = await world.client.list(resource, world.namespace, field_selector=selector)
        assert [name(item) for item in found] == ["b"], selector
    assert await world.client.list(NODES, field_selector="spec.unschedulable=true") == []
    assert await world.client.list(PODS, world.namespace, field_selector="spec.nodeName=n,status.phase!=Failed") == []


@everywhere
async def test_selectors_that_cannot_be_read(world: World) -> None:
    """A selector that is none, or that names an unknown field, is a bad request."""
    path = GADGETS.path(world.namespace)
    for query in (
        {"labelSelector": "a b"},
        {"labelSelector": "a in b"},
        {"labelSelector": "a>b"},
        {"fieldSelector": "bla"},
        {"fieldSelector": "spec.size=1"},
    ):
        error = await refused(world, "GET", path, **query)
        assert (error.status, error.reason) == (400, "BadRequest"), query


@everywhere
async def test_all_namespaces(world: World) -> None:
    """Without a namespace a list shows those of all."""
    await world.client.create(CONFIG_MAPS, config_map(world, "a"))
    everything = await world.client.list(CONFIG_MAPS, None, field_selector="metadata.name=a")
    assert world.namespace in {item["metadata"]["namespace"] for item in everything}
