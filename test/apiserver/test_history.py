"""What only virtual time shows of the fake: bookmarks by the minute, the window of its history, its own timeouts.

A kube-apiserver takes minutes for these. The numbers are those of apiserver 1.37 (pkg/storage/cacher), read there.
"""

from __future__ import annotations

import asyncio
import random

import pytest

from kaito_controller.kube.core import CONFIG_MAPS, LEASES, POD_DISRUPTION_BUDGETS, PODS
from kaito_controller.kube.metadata import Object, resource_version
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery import codec
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.errors import ApiConnectionError, ApiError, ApiTimeoutError, is_gone
from kaito_controller.testing.clock import VirtualClock, cancelled, settle, virtual_time
from kaito_controller.testing.fake.reviews import User
from kaito_controller.testing.fake.server import FakeServer
from kaito_controller.testing.fake.transport import FakeTransport

GIZMOS = Resource(group="example.com", version="v1", kind="Gizmo", plural="gizmos", namespaced=True)


def config_map(number: int = 0) -> Object:
    """A ConfigMap that a number tells from others of its name."""
    head = {"name": "a", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": head, "data": {"n": str(number)}}


async def follow(server: FakeServer, seen: list[tuple[float, Object]], **query: str) -> None:
    """Write down every event of a watch and when it came, until the stream ends."""
    asked = {"watch": "true", "allowWatchBookmarks": "true"} | query
    path = CONFIG_MAPS.path("default")
    async with FakeTransport(server).stream("GET", path, query=asked) as chunks:
        async for chunk in chunks:
            event = codec.loads(chunk)
            seen.append((server.clock.monotonic(), event))


@pytest.mark.scenario("RF23")
@virtual_time
async def test_bookmarks_by_the_minute(clock: VirtualClock) -> None:
    """A bookmark comes each minute and two seconds before the deadline, with the newest version there is."""
    server = FakeServer(clock)
    made = server.create(CONFIG_MAPS, config_map())
    seen: list[tuple[float, Object]] = []
    watching = asyncio.create_task(follow(server, seen, resourceVersion=resource_version(made), timeoutSeconds="200"))
    await clock.sleep(30)
    # The progress of another kind moves the bookmarks of this one.
    other = server.create(LEASES, {"metadata": {"name": "l", "namespace": "default"}})
    await watching
    assert [at for at, _ in seen] == [60, 120, 180, 198]
    assert {event["type"] for _, event in seen} == {"BOOKMARK"}
    assert {resource_version(event["object"]) for _, event in seen} == {resource_version(other)}
    assert clock.monotonic() == 200


@pytest.mark.scenario("RF23")
@virtual_time
async def test_a_watch_that_names_no_timeout(clock: VirtualClock) -> None:
    """It lasts 30 to 60 minutes, as the dice say."""
    lasted = []
    for seed in range(20):
        server = FakeServer(clock, random.Random(seed))
        began = clock.monotonic()
        await follow(server, [])
        lasted.append(clock.monotonic() - began)
    assert all(1800 <= seconds <= 3600 for seconds in lasted)
    assert max(lasted) - min(lasted) > 600


@pytest.mark.scenario("RF23")
@virtual_time
async def test_the_window_of_a_watch(clock: VirtualClock) -> None:
    """The last 100 changes can always be watched, and all of the last 75 s; before that is 410, with both versions."""
    server = FakeServer(clock)
    first = server.create(CONFIG_MAPS, config_map())
    changed = [server.update(CONFIG_MAPS, config_map(number)) for number in range(1, 151)]
    await clock.sleep(74)
    seen: list[tuple[float, Object]] = []
    watching = asyncio.create_task(follow(server, seen, resourceVersion=resource_version(first)))
    await settle()
    assert len(seen) == 150
    await cancelled(watching)
    await clock.sleep(2)
    server.update(CONFIG_MAPS, config_map(151))
    oldest = resource_version(changed[-100])
    for version, events in ((oldest, 100), (str(int(oldest) - 1), 1)):
        seen = []
        watching = asyncio.create_task(follow(server, seen, resourceVersion=version))
        await settle()
        await cancelled(watching)
        assert len(seen) == events
    assert seen[0][1]["object"]["message"] == f"too old resource version: {int(oldest) - 1} ({oldest})"


@virtual_time
async def test_compaction_by_itself(clock: VirtualClock) -> None:
    """After five to ten minutes old pages are gone, without anybody asking for it."""
    server = FakeServer(clock)
    client = Client(FakeTransport(server))
    for name in "abc":
        server.create(CONFIG_MAPS, {"metadata": {"name": name, "namespace": "default"}})
    page = await client.list_page(CONFIG_MAPS, "default", limit=1)
    server.create(CONFIG_MAPS, config_map() | {"metadata": {"name": "d", "namespace": "default"}})
    await clock.sleep(299)
    second = await client.list_page(CONFIG_MAPS, "default", limit=1, continue_token=page.continue_token)
    assert second.resource_version == page.resource_version
    await clock.sleep(302)
    with pytest.raises(ApiError) as caught:
        await client.list_page(CONFIG_MAPS, "default", limit=1, continue_token=page.continue_token)
    assert is_gone(caught.value)


@virtual_time
async def test_an_expired_page_offers_to_go_on(clock: VirtualClock) -> None:
    """The answer to an expired token carries one with which the rest is listed as it is by now."""
    server = FakeServer(clock)
    for name in "abc":
        server.create(CONFIG_MAPS, {"metadata": {"name": name, "namespace": "default"}})
    transport = FakeTransport(server)
    page = await Client(transport).list_page(CONFIG_MAPS, "default", limit=1)
    server.delete(CONFIG_MAPS, "b", "default")
    server.compact()
    query = {"continue": page.continue_token, "limit": "1"}
    response = await server.handle(transport.asked("GET", CONFIG_MAPS.path("default"), query))
    assert response.status == 410
    assert isinstance(response.body, dict)
    token = response.body["metadata"]["continue"]
    rest = await Client(transport).list_page(CONFIG_MAPS, "default", continue_token=token)
    assert [item["metadata"]["name"] for item in rest.items] == ["c"]


@pytest.mark.scenario("RF14")
@virtual_time
async def test_watches_that_are_cut_and_expired(clock: VirtualClock) -> None:
    """On demand open watches just end, or are told 410 in their stream."""
    server = FakeServer(clock)
    for act, kinds in ((server.cut_watches, []), (server.expire_watches, ["ERROR"])):
        seen: list[tuple[float, Object]] = []
        watching = asyncio.create_task(follow(server, seen))
        await settle()
        assert server.open_watches == 1
        act()
        await watching
        assert [event["type"] for _, event in seen] == kinds
        assert server.open_watches == 0


@virtual_time
async def test_a_client_that_goes_away(clock: VirtualClock) -> None:
    """A watch whose reader is gone is closed: no subscriber, no timer and no task are left."""
    server = FakeServer(clock)
    watching = asyncio.create_task(follow(server, []))
    await settle()
    await cancelled(watching)
    assert server.open_watches == 0
    assert server.storage.collection("configmaps").subscribers == []
    await clock.sleep(10_000)


@virtual_time
async def test_what_is_logged(clock: VirtualClock) -> None:
    """Every request is on record, with its time, who sent it and what it asked for."""
    server = FakeServer(clock)
    client = Client(FakeTransport(server, user_agent="me/1.0"))
    await client.list_page(CONFIG_MAPS, "default", limit=5)
    await clock.sleep(7)
    await client.create(CONFIG_MAPS, config_map())
    listed, created = server.requests
    assert (listed.method, listed.query, listed.at) == ("GET", {"limit": "5"}, 0.0)
    assert (created.method, created.body["data"], created.at) == ("POST", {"n": "0"}, 7.0)
    assert created.manager == "me"


@virtual_time
async def test_a_kind_that_is_handed_in(clock: VirtualClock) -> None:
    """A bare resource is served as a custom kind with status, whatever its objects look like."""
    server = FakeServer(clock)
    server.serve(GIZMOS)
    client = Client(FakeTransport(server))
    made = await client.create(GIZMOS, server_object("g", size="any") | {"status": {"a": 1}})
    assert "status" not in made
    told = await client.merge_patch(GIZMOS, "g", "default", {"status": {"a": 1}}, subresource="status")
    assert (told["spec"], told["status"], told["metadata"]["generation"]) == ({"size": "any"}, {"a": 1}, 1)


def server_object(name: str, **spec: object) -> Object:
    """A gizmo."""
    head = {"name": name, "namespace": "default"}
    return {"apiVersion": GIZMOS.api_version, "kind": GIZMOS.kind, "metadata": head, "spec": spec}


@virtual_time
async def test_who_is_known(clock: VirtualClock) -> None:
    """A token that nobody was given is 401; one that was given is let in."""
    server = FakeServer(clock)
    server.users.tokens["known"] = User(name="ann")
    for token, code in (("known", 0), ("unheard", 401)):
        client = Client(FakeTransport(server, token=token))
        try:
            await client.list(CONFIG_MAPS, "default")
            found = 0
        except ApiError as error:
            found = error.status
        assert found == code


@virtual_time
async def test_nothing_is_shared_with_the_server(clock: VirtualClock) -> None:
    """What a client changes in an answer, or in what it sent, the server does not notice."""
    server = FakeServer(clock)
    client = Client(FakeTransport(server))
    body = config_map()
    made = await client.create(CONFIG_MAPS, body)
    body["data"]["n"] = made["data"]["n"] = "changed"
    assert (await client.get(CONFIG_MAPS, "a", "default"))["data"] == {"n": "0"}


@virtual_time
async def test_the_limits_of_a_transport(clock: VirtualClock) -> None:
    """A request ends at its timeout, a silent stream at its idle limit, and a closed transport answers nothing."""
    server = FakeServer(clock)
    transport = FakeTransport(server)
    with pytest.raises(ApiTimeoutError):
        await transport.request("GET", CONFIG_MAPS.path(), query={"resourceVersion": "9999"}, timeout_s=2, retry=False)
    assert clock.monotonic() == 2
    with pytest.raises(ApiTimeoutError):
        async with transport.stream("GET", CONFIG_MAPS.path(), query={"watch": "true"}, idle_timeout_s=30) as chunks:
            await anext(chunks)
    assert clock.monotonic() == 32
    await transport.close()
    with pytest.raises(ApiConnectionError):
        await transport.request("GET", CONFIG_MAPS.path())


@pytest.mark.scenario("RC2")
@virtual_time
async def test_patience(clock: VirtualClock) -> None:
    """The transport obeys a wish to come back later: an eviction is carried out once its budget was looked at."""
    server = FakeServer(clock)
    head = {"name": "a", "namespace": "default", "labels": {"l": "1"}}
    server.create(PODS, {"metadata": head, "spec": {"containers": []}})
    server.patch(PODS, "a", "default", {"status": {"phase": "Running"}}, "status")
    server.create(POD_DISRUPTION_BUDGETS, {"metadata": head, "spec": {"selector": {"matchLabels": {"l": "1"}}}})
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": head}
    evicting = asyncio.create_task(
        FakeTransport(server).request("POST", PODS.path("default", "a", "eviction"), body=body)
    )
    await clock.sleep(5)
    budget = {"status": {"observedGeneration": 1, "disruptionsAllowed": 1}}
    server.patch(POD_DISRUPTION_BUDGETS, "a", "default", budget, "status")
    assert (await evicting)["status"] == "Success"
    assert clock.monotonic() == 10
    assert server.objects(PODS) == []
    assert server.get(POD_DISRUPTION_BUDGETS, "a", "default")["status"]["disruptionsAllowed"] == 0
