"""Watches that begin with what is there: `sendInitialEvents`."""

from __future__ import annotations

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, name, resource_version
from kaito_controller.testing.fake.gadgets import GADGETS, gadget
from kaito_controller.testing.fake.stage import World, everywhere

END = "k8s.io/initial-events-end"
ASK = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}


def config_map(world: World, name: str, **labels: str) -> Object:
    """A ConfigMap with labels."""
    return {"metadata": {"name": name, "namespace": world.namespace, "labels": labels}, "data": {"a": "1"}}


@pytest.mark.scenario("WL1", "WL3")
@pytest.mark.parametrize("version", ["", "0", "last"])
@everywhere
async def test_the_initial_events_end_with_a_bookmark(world: World, version: str) -> None:
    """First every object as ADDED, then a bookmark that says so with exactly "true"; then the stream goes on."""
    client = world.client
    for each in "ab":
        last = await client.create(CONFIG_MAPS, config_map(world, each))
    if version == "0":
        await client.list_page(CONFIG_MAPS, world.namespace, resource_version=resource_version(last))
    asked = {"last": resource_version(last)}.get(version, version)
    async with world.watch(CONFIG_MAPS, resourceVersion=asked, **ASK) as watcher:
        *added, end = await watcher.take(3)
        assert sorted((event["type"], name(event["object"])) for event in added) == [("ADDED", "a"), ("ADDED", "b")]
        assert end["type"] == "BOOKMARK"
        assert end["object"]["metadata"]["annotations"] == {END: "true"}
        assert int(resource_version(end["object"])) >= int(resource_version(last))
        await client.delete(CONFIG_MAPS, "a", world.namespace)
        deleted = await watcher.next()
    assert (deleted["type"], name(deleted["object"])) == ("DELETED", "a")
    assert int(resource_version(deleted["object"])) > int(resource_version(end["object"]))


@everywhere
async def test_nothing_there(world: World) -> None:
    """An empty collection is the bookmark alone."""
    async with world.watch(GADGETS, **ASK) as watcher:
        event = await watcher.next()
    assert event["type"] == "BOOKMARK"
    assert event["object"]["metadata"]["annotations"] == {END: "true"}


@everywhere
async def test_the_end_can_be_watched_from(world: World) -> None:
    """The version of the bookmark is one to go on from: nothing is lost, nothing comes twice."""
    client = world.client
    await client.create(GADGETS, gadget("a", world.namespace))
    async with world.watch(GADGETS, **ASK) as watcher:
        _, end = await watcher.take(2)
    await client.create(GADGETS, gadget("b", world.namespace))
    async with world.watch(GADGETS, resourceVersion=resource_version(end["object"])) as watcher:
        assert name((await watcher.next())["object"]) == "b"


@everywhere
async def test_selected_initial_events(world: World) -> None:
    """Selectors hold for initial events, too."""
    client = world.client
    await client.create(CONFIG_MAPS, config_map(world, "a", l="x"))
    await client.create(CONFIG_MAPS, config_map(world, "b", l="y"))
    async with world.watch(CONFIG_MAPS, labelSelector="l=y", **ASK) as watcher:
        added, end = await watcher.take(2)
    assert (name(added["object"]), end["type"]) == ("b", "BOOKMARK")


@everywhere
async def test_without_bookmarks_there_is_no_end(world: World) -> None:
    """Who does not allow bookmarks gets the objects, and is not told when that was all."""
    await world.client.create(CONFIG_MAPS, config_map(world, "a"))
    asked = ASK | {"allowWatchBookmarks": "false", "timeoutSeconds": "1"}
    async with world.watch(CONFIG_MAPS, **asked) as watcher:
        assert [event["type"] for event in await watcher.rest()] == ["ADDED"]


@everywhere
async def test_no_initial_events(world: World) -> None:
    """`sendInitialEvents=false` without a version begins now, and shows nothing of what is there."""
    client = world.client
    last = await client.create(CONFIG_MAPS, config_map(world, "a"))
    await client.list_page(CONFIG_MAPS, world.namespace, resource_version=resource_version(last))
    asked = {"sendInitialEvents": "false", "resourceVersionMatch": "NotOlderThan"}
    async with world.watch(CONFIG_MAPS, **asked) as watcher:
        await client.create(CONFIG_MAPS, config_map(world, "b"))
        assert name((await watcher.next())["object"]) == "b"


@pytest.mark.scenario("WL4", "RF23")
@everywhere
async def test_initial_events_of_the_future(world: World) -> None:
    """After three seconds the stream tells that the version is too large, and ends."""
    began = world.clock.monotonic()
    async with world.watch(GADGETS, resourceVersion="100000000000", **ASK) as watcher:
        events = await watcher.rest()
    waited = world.clock.monotonic() - began
    assert [event["type"] for event in events] == ["ERROR"]
    status = events[0]["object"]
    assert (status["code"], status["reason"]) == (504, "Timeout")
    assert status["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    assert status["details"]["retryAfterSeconds"] == 1
    assert 2.5 < waited < 6
    if world.virtual:
        assert waited == 3.0


@everywhere
async def test_initial_events_ignore_how_old_the_version_is(world: World) -> None:
    """A version from before the history is no error here: something newer is good enough."""
    await world.client.create(GADGETS, gadget("a", world.namespace))
    async with world.watch(GADGETS, resourceVersion="1", **ASK) as watcher:
        added, end = await watcher.take(2)
    assert (name(added["object"]), end["type"]) == ("a", "BOOKMARK")
