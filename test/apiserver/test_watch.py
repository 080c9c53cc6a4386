"""Watches: where they begin, what they show, what they leave out, and how they end."""

from __future__ import annotations

import asyncio

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, name, resource_version
from kaito_controller.machinery.errors import ApiError
from kaito_controller.testing.fake.gadgets import GADGETS, gadget
from kaito_controller.testing.fake.stage import World, everywhere

LAST_BOOKMARK = {"allowWatchBookmarks": "true", "timeoutSeconds": "3"}


def config_map(world: World, name: str, **labels: str) -> Object:
    """A ConfigMap with labels."""
    return {"metadata": {"name": name, "namespace": world.namespace, "labels": labels}, "data": {"a": "1"}}


async def now(world: World) -> str:
    """The version of a list that was just made."""
    return (await world.client.list_page(CONFIG_MAPS, world.namespace)).resource_version


def seen(event: Object) -> tuple[str, str]:
    """Type and name of an event."""
    return event["type"], name(event["object"])


@everywhere
async def test_every_change_in_order(world: World) -> None:
    """From a version on come all later changes, each with the object as stored; a deletion has a version of its own."""
    client = world.client
    async with world.watch(CONFIG_MAPS, resourceVersion=await now(world)) as watcher:
        made = await client.create(CONFIG_MAPS, config_map(world, "a"))
        changed = await client.merge_patch(CONFIG_MAPS, "a", world.namespace, {"data": {"a": "2"}})
        await client.delete(CONFIG_MAPS, "a", world.namespace)
        added, modified, deleted = await watcher.take(3)
    assert (added["type"], added["object"]) == ("ADDED", made)
    assert (modified["type"], modified["object"]) == ("MODIFIED", changed)
    assert seen(deleted) == ("DELETED", "a")
    assert deleted["object"]["data"] == {"a": "2"}
    assert int(resource_version(deleted["object"])) > int(resource_version(changed))


@everywhere
async def test_changes_that_were_missed(world: World) -> None:
    """A watch from an old version first makes up for what happened since; what came before is not shown."""
    client = world.client
    await client.create(CONFIG_MAPS, config_map(world, "before"))
    version = await now(world)
    for each in "ab":
        await client.create(CONFIG_MAPS, config_map(world, each))
    await client.delete(CONFIG_MAPS, "a", world.namespace)
    async with world.watch(CONFIG_MAPS, resourceVersion=version) as watcher:
        assert [seen(event) for event in await watcher.take(3)] == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]


@pytest.mark.scenario("RF18")
@pytest.mark.parametrize("version", ["", "0"])
@everywhere
async def test_a_watch_without_a_version(world: World, version: str) -> None:
    """Without a version, and with 0, what is there comes as ADDED, by name and not by version."""
    client = world.client
    for each in "ba":
        last = await client.create(CONFIG_MAPS, config_map(world, each))
    await client.list_page(CONFIG_MAPS, world.namespace, resource_version=resource_version(last))
    async with world.watch(CONFIG_MAPS, resourceVersion=version) as watcher:
        events = await watcher.take(2)
        assert sorted(seen(event) for event in events) == [("ADDED", "a"), ("ADDED", "b")]
        await client.create(CONFIG_MAPS, config_map(world, "c"))
        assert seen(await watcher.next()) == ("ADDED", "c")


@everywhere
async def test_leaving_a_selection_is_a_deletion(world: World) -> None:
    """Who stops matching is DELETED, as it was, at the version of the change; who begins to match is ADDED."""
    client = world.client
    async with world.watch(CONFIG_MAPS, resourceVersion=await now(world), labelSelector="l=x") as watcher:
        await client.create(CONFIG_MAPS, config_map(world, "other", l="y"))
        await client.create(CONFIG_MAPS, config_map(world, "a", l="x"))
        left = await client.merge_patch(CONFIG_MAPS, "a", world.namespace, {"metadata": {"labels": {"l": "y"}}})
        await client.merge_patch(CONFIG_MAPS, "a", world.namespace, {"data": {"a": "3"}})
        back = await client.merge_patch(CONFIG_MAPS, "a", world.namespace, {"metadata": {"labels": {"l": "x"}}})
        events = await watcher.take(3)
    assert [seen(event) for event in events] == [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a")]
    assert events[1]["object"]["metadata"]["labels"] == {"l": "x"}
    assert resource_version(events[1]["object"]) == resource_version(left)
    assert events[2]["object"] == back


@everywhere
async def test_a_watch_of_fields(world: World) -> None:
    """Field selectors narrow a watch as labels do."""
    client = world.client
    version = (await client.list_page(GADGETS, world.namespace)).resource_version
    async with world.watch(GADGETS, resourceVersion=version, fieldSelector="spec.color=blue") as watcher:
        await client.create(GADGETS, gadget("a", world.namespace, color="red"))
        await client.create(GADGETS, gadget("b", world.namespace, color="blue"))
        await client.merge_patch(GADGETS, "b", world.namespace, {"spec": {"color": "red"}})
        assert [seen(event) for event in await watcher.take(2)] == [("ADDED", "b"), ("DELETED", "b")]


@everywhere
async def test_one_object_and_all_namespaces(world: World) -> None:
    """A watch of one name shows that one only, and is asked of the collection; one without a namespace shows all."""
    client = world.client
    version = await now(world)
    await client.create(CONFIG_MAPS, config_map(world, "a"))
    await client.create(CONFIG_MAPS, config_map(world, "b"))
    async with world.watch(CONFIG_MAPS, resourceVersion=version, fieldSelector="metadata.name=b") as watcher:
        assert seen(await watcher.next()) == ("ADDED", "b")
    path = CONFIG_MAPS.path(world.namespace, "b")
    assert name(await world.transport.request("GET", path, query={"watch": "true"})) == "b"
    async with world.watch(CONFIG_MAPS, None, resourceVersion=version) as watcher:
        namespaces = {event["object"]["metadata"]["namespace"] for event in await watcher.take(2)}
        assert world.namespace in namespaces


@everywhere
async def test_writes_that_change_nothing(world: World) -> None:
    """An update, a patch and an apply that change nothing are no event, and keep the version."""
    client = world.client
    made = await client.create(CONFIG_MAPS, config_map(world, "a"))
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": world.namespace}}
    applied = await client.apply(CONFIG_MAPS, body | {"data": {"a": "1"}}, field_manager="one")
    async with world.watch(CONFIG_MAPS, resourceVersion=resource_version(applied)) as watcher:
        updated = await client.update(CONFIG_MAPS, applied)
        patched = await client.merge_patch(CONFIG_MAPS, "a", world.namespace, {"data": {"a": "1"}})
        again = await client.apply(CONFIG_MAPS, body | {"data": {"a": "1"}}, field_manager="one")
        await client.create(CONFIG_MAPS, config_map(world, "end"))
        assert seen(await watcher.next()) == ("ADDED", "end")
    assert {resource_version(obj) for obj in (updated, patched, again)} == {resource_version(applied)}
    assert resource_version(made) != resource_version(applied)


@pytest.mark.scenario("RF23")
@everywhere
async def test_too_old(world: World) -> None:
    """A version from before the history is answered 200 and 410 Expired in the stream, which then ends."""
    await world.client.create(GADGETS, gadget("a", world.namespace))
    async with world.watch(GADGETS, resourceVersion="1") as watcher:
        events = await watcher.rest()
    assert [event["type"] for event in events] == ["ERROR"]
    status = events[0]["object"]
    assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
    assert status["message"].startswith("too old resource version: 1 (")


@pytest.mark.scenario("RF23")
@everywhere
async def test_more_than_a_hundred_fresh_changes(world: World) -> None:
    """What happened in the last 75 s can all be watched from, also when it is more than the usual hundred changes."""
    client = world.client
    made = await client.create(CONFIG_MAPS, config_map(world, "a"))
    for number in range(150):
        await client.merge_patch(CONFIG_MAPS, "a", world.namespace, {"data": {"a": str(number + 2)}})
    async with world.watch(CONFIG_MAPS, resourceVersion=resource_version(made)) as watcher:
        events = await watcher.take(150)
    assert [event["object"]["data"]["a"] for event in events] == [str(number + 2) for number in range(150)]


@pytest.mark.scenario("RF23")
@everywhere
async def test_a_bookmark_before_the_end(world: World) -> None:
    """Two seconds before its deadline a watch gets a bookmark, of its kind and with nothing but a version; then EOF.

    The real server keeps its bookmarks in buckets of one second by its own count (cacher.go, bookmarkTimeBuckets), so
    the bookmark may come up to a second early; and it may tell of one more when something was written after that.
    """
    made = await world.client.create(CONFIG_MAPS, config_map(world, "a"))
    began = world.clock.monotonic()
    four_seconds = LAST_BOOKMARK | {"timeoutSeconds": "4"}
    async with world.watch(CONFIG_MAPS, resourceVersion=resource_version(made), **four_seconds) as watcher:
        changed = await world.client.merge_patch(CONFIG_MAPS, "a", world.namespace, {"data": {"a": "2"}})
        modified, bookmark = await watcher.take(2)
        told = world.clock.monotonic() - began
        rest = await watcher.rest()
    assert [event["type"] for event in rest] in ([], ["BOOKMARK"])
    lasted = world.clock.monotonic() - began
    assert bookmark["type"] == "BOOKMARK"
    body = bookmark["object"]
    assert (body["kind"], body["apiVersion"]) == ("ConfigMap", "v1")
    assert modified["object"] == changed
    assert int(resource_version(body)) >= int(resource_version(changed))
    assert "name" not in body["metadata"]
    assert 1.0 <= told < lasted
    assert lasted >= 4.0
    if world.virtual:
        assert (told, lasted, rest) == (2.0, 4.0, [])


@pytest.mark.scenario("RF23")
@everywhere
async def test_bookmarks_that_do_not_come(world: World) -> None:
    """None that would say no more than the version the watch began at, and none to who has not asked."""
    made = await world.client.create(GADGETS, gadget("a", world.namespace))
    version = await now(world)

    async def without_news() -> list[Object]:
        async with world.watch(GADGETS, resourceVersion=resource_version(made), **LAST_BOOKMARK) as watcher:
            return await watcher.rest()

    async def not_asked_for() -> list[Object]:
        async with world.watch(CONFIG_MAPS, resourceVersion=version, timeoutSeconds="3") as watcher:
            return await watcher.rest()

    async def write() -> None:
        await world.clock.sleep(0.2)
        await world.client.create(CONFIG_MAPS, config_map(world, "a"))

    silent, unasked, _ = await asyncio.gather(without_news(), not_asked_for(), write())
    assert silent == []
    assert [event["type"] for event in unasked] == ["ADDED"]


@everywhere
async def test_a_watch_from_the_future_waits(world: World) -> None:
    """A watch from a version that is not there yet is silent until that was passed: no error."""
    made = await world.client.create(GADGETS, gadget("a", world.namespace))
    version = str(int(resource_version(made)) + 1000)
    async with world.watch(GADGETS, resourceVersion=version, timeoutSeconds="1") as watcher:
        await world.client.merge_patch(GADGETS, "a", world.namespace, {"spec": {"size": 2}})
        assert await watcher.rest() == []


@everywhere
async def test_options_that_make_no_sense(world: World) -> None:
    """Initial events need NotOlderThan, a match needs initial events, and a version must be a number."""
    for query, code in (
        ({"sendInitialEvents": "true"}, 422),
        ({"resourceVersionMatch": "NotOlderThan"}, 422),
        ({"sendInitialEvents": "true", "resourceVersionMatch": "Exact"}, 422),
        ({"resourceVersion": "abc"}, 500),
        ({"timeoutSeconds": "abc"}, 400),
        ({"labelSelector": "a b"}, 400),
    ):
        with pytest.raises(ApiError) as caught:
            async with world.watch(CONFIG_MAPS, **query):
                pass
        assert caught.value.status == code, query


@everywhere
async def test_many_watchers_see_the_same(world: World) -> None:
    """Watchers do not take events from each other."""
    client = world.client
    version = await now(world)

    async def follow() -> list[tuple[str, str]]:
        async with world.watch(CONFIG_MAPS, resourceVersion=version) as watcher:
            return [seen(event) for event in await watcher.take(4)]

    following = [asyncio.create_task(follow()) for _ in range(3)]
    for each in "ab":
        await client.create(CONFIG_MAPS, config_map(world, each))
        await client.delete(CONFIG_MAPS, each, world.namespace)
    wanted = [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "b"), ("DELETED", "b")]
    assert await asyncio.gather(*following) == [wanted] * 3
