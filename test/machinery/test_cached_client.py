"""The cached client: reads from informers that the first read starts, writes to the server."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping
from random import Random

import pytest
import structlog

from kaito_controller.kube.core import CONFIG_MAPS, NODES, PODS, SECRETS
from kaito_controller.kube.metadata import Object, name
from kaito_controller.kube.selectors import LabelSelector
from kaito_controller.machinery import log
from kaito_controller.machinery.cache.cache import Cache, CacheSyncError, Scope, StaleCacheError
from kaito_controller.machinery.cache.cached_client import CachedClient, CacheNotStartedError, NotCachedError
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.errors import ApiError, is_not_found
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.transport import ScriptedTransport, Stream, event, listing, obj


def pod(called: str, version: str, *, namespace: str = "default", node: str = "", **labels: str) -> Object:
    made = obj(PODS, called, version, namespace=namespace, spec={"nodeName": node})
    made["metadata"]["labels"] = labels
    return made


def started(clock: VirtualClock, transport: ScriptedTransport) -> Cache:
    cache = Cache(Client(transport), clock, rng=Random(1))
    cache.start()
    return cache


def pods() -> list[Object]:
    return [
        pod("a", "1", node="n1", app="web", tier="front"),
        pod("b", "2", node="n2", app="web"),
        pod("c", "3", namespace="other", node="n1", app="api"),
    ]


@virtual_time
@pytest.mark.scenario("CC1")
async def test_the_first_read_of_a_kind_starts_its_informer_and_waits(clock: VirtualClock) -> None:
    """One list and one watch however many read; each waits until the list is there; later reads ask nobody."""
    transport = ScriptedTransport(clock, [listing(PODS, "10", *pods())])
    cache = started(clock, transport)
    client = CachedClient(cache)
    first, second = await asyncio.gather(client.get(PODS, "a", "default"), client.list(PODS))
    assert first == pods()[0]
    assert len(second) == 3
    assert await client.get(PODS, "c", "other") == pods()[2]
    assert (len(transport.lists), len(transport.watches)) == (1, 1)
    await cache.stop()


@virtual_time
@pytest.mark.scenario("CT14")
async def test_an_informer_logs_nothing_under_the_reconcile_that_began_it(clock: VirtualClock) -> None:
    """It outlives that reconcile: years later its warnings would still carry that object's name and reconcileID."""
    lines = io.StringIO()
    log.configure("json", stream=lines)
    cache = started(clock, ScriptedTransport(clock, [listing(PODS, "10")] * 2, [ApiError(403, "Forbidden")]))
    with structlog.contextvars.bound_contextvars(reconcileID="r1"):
        await CachedClient(cache).list(PODS)
    await clock.sleep(60)
    await cache.stop()
    (warning,) = [line for line in map(json.loads, lines.getvalue().splitlines()) if line["level"] == "warning"]
    assert warning["event"] == "keeping the copy failed; trying again"
    assert "reconcileID" not in warning


@virtual_time
@pytest.mark.scenario("CC1")
async def test_reads_before_the_start_and_of_what_is_not_held_are_refused(clock: VirtualClock) -> None:
    """Each refusal says what to do: start the cache, make an informer, ask for the namespace that is held."""
    cache = Cache(Client(ScriptedTransport(clock, [listing(PODS, "10", *pods()[:2])])), clock)
    client = CachedClient(cache, fail_on_missing=True, scopes={PODS: Scope(namespace="default")})
    with pytest.raises(CacheNotStartedError, match=r"read after Cache\.start"):
        await client.get(PODS, "a", "default")
    cache.informer(PODS, namespace="default")
    cache.start()
    assert name(await client.get(PODS, "a", "default")) == "a"
    with pytest.raises(NotCachedError, match="Node: nobody made an informer"):
        await client.list(NODES)
    with pytest.raises(NotCachedError, match="holds namespace 'default' only, and namespace 'other'"):
        await client.get(PODS, "c", "other")
    with pytest.raises(NotCachedError, match="all namespaces"):
        await client.list(PODS)
    await cache.stop()


@virtual_time
@pytest.mark.scenario("CC1")
async def test_an_uncached_kind_is_read_from_the_server_every_time(clock: VirtualClock) -> None:
    """No informer is started for it, and what the server says is passed on, selectors included."""
    secret = obj(SECRETS, "s", "1")
    transport = ScriptedTransport(clock, [secret, ApiError(404, "NotFound"), listing(SECRETS, "1", secret, secret)])
    cache = started(clock, transport)
    client = CachedClient(cache, uncached={SECRETS})
    assert await client.get(SECRETS, "s", "default") == secret
    with pytest.raises(ApiError):
        await client.get(SECRETS, "s", "default")
    found = await client.list(SECRETS, "default", label_selector="a=b", field_selector={"type": "x"}, limit=1)
    assert found == [secret]
    assert transport.watches == []
    assert transport.lists[-1].query["fieldSelector"] == "type=x"
    assert transport.lists[-1].query["labelSelector"] == "a=b"
    await cache.stop()


@virtual_time
@pytest.mark.scenario("CC1")
async def test_a_list_that_does_not_come_fails_the_read_with_its_reason(clock: VirtualClock) -> None:
    """The wait for the first list has an end."""
    transport = ScriptedTransport(clock, [ApiError(403, "Forbidden", "pods is forbidden")] * 9, [ApiError(403)] * 9)
    cache = started(clock, transport)
    with pytest.raises(CacheSyncError, match=r"pods within 10 s: 403 Forbidden"):
        await CachedClient(cache, sync_timeout_s=10).list(PODS)
    await cache.stop()


@virtual_time
@pytest.mark.scenario("CC2")
async def test_reads_are_copies_unless_asked_otherwise(clock: VirtualClock) -> None:
    """A copy may be changed; without one the very object of the cache comes back. Kind and apiVersion are there."""
    bare = {field: value for field, value in pods()[0].items() if field not in {"kind", "apiVersion"}}
    cache = started(clock, ScriptedTransport(clock, [listing(PODS, "10", bare)]))
    client = CachedClient(cache)
    mine = await client.get(PODS, "a", "default")
    assert (mine["kind"], mine["apiVersion"]) == ("Pod", "v1")
    mine["metadata"]["labels"]["app"] = "changed"
    mine["spec"]["nodeName"] = "changed"
    [listed] = await client.list(PODS)
    assert listed["metadata"]["labels"]["app"] == "web"
    listed["spec"].clear()
    [shared] = await client.list(PODS, copy=False)
    assert shared is await client.get(PODS, "a", "default", copy=False)
    assert shared == pods()[0]
    await cache.stop()


@virtual_time
@pytest.mark.scenario("CC2")
async def test_what_is_not_there_is_named_with_its_kind(clock: VirtualClock) -> None:
    """The error is the one that the server would give."""
    cache = started(clock, ScriptedTransport(clock, [listing(PODS, "10")]))
    with pytest.raises(ApiError, match='pods "x" not found') as caught:
        await CachedClient(cache).get(PODS, "x", "default")
    assert is_not_found(caught.value)
    assert caught.value.details == {"kind": "pods", "name": "x"}
    await cache.stop()


@virtual_time
@pytest.mark.scenario("CC2")
async def test_selectors_limits_and_pages(clock: VirtualClock) -> None:
    """Labels filter; fields only by registered indexes, and-ed; a limit cuts off; a continue token is refused."""
    cache = Cache(Client(ScriptedTransport(clock, [listing(PODS, "10", *pods())])), clock)
    client = CachedClient(cache)
    client.index_field(PODS, "spec.nodeName")
    client.index_field(PODS, "spec.nodeName")
    client.index_field(PODS, "metadata.name", lambda item: [name(item)])
    cache.start()

    async def names(namespace: str | None = None, **how: str | Mapping[str, str] | LabelSelector) -> list[str]:
        found = await client.list(PODS, namespace, **how)  # type: ignore[arg-type]
        return sorted(map(name, found))

    assert await names(label_selector="app=web") == ["a", "b"]
    assert await names(label_selector=LabelSelector(match_labels={"app": "api"})) == ["c"]
    assert await names(field_selector="spec.nodeName=n1") == ["a", "c"]
    assert await names("default", field_selector={"spec.nodeName": "n1"}) == ["a"]
    assert await names(field_selector="spec.nodeName=n1,metadata.name=c") == ["c"]
    assert await names(field_selector="spec.nodeName=n2,metadata.name=c") == []
    assert await names("default", label_selector="tier") == ["a"]
    assert len(await client.list(PODS, limit=2)) == 2
    with pytest.raises(LookupError, match=r"'status\.phase': not indexed"):
        await names(field_selector="status.phase=Running")
    with pytest.raises(ValueError, match="continue: a cache gives everything at once"):
        await client.list(PODS, continue_token="next")
    with pytest.raises(ValueError, match="only field=value"):
        await names(field_selector="spec.nodeName!=n1")
    with pytest.raises(ValueError, match="taken"):
        client.index_field(PODS, "spec.nodeName", lambda _: ())
    await cache.stop()


@virtual_time
@pytest.mark.scenario("CC1", "CC4")
async def test_writes_go_to_the_server_and_make_older_reads_stale(clock: VirtualClock) -> None:
    """The cache does not show what was just written; it says so, until the watch has brought it."""
    changed = pod("a", "20", node="n1")
    transport = ScriptedTransport(
        clock,
        [listing(PODS, "10", pod("a", "1")), changed],
        [Stream([5.0, event("MODIFIED", changed)], stays=True)],
    )
    cache = started(clock, transport)
    client = CachedClient(cache)
    await client.get(PODS, "a", "default")
    written = await client.merge_patch(PODS, "a", "default", {"spec": {"nodeName": "n1"}})
    assert written == changed
    assert transport.calls[-1].method == "PATCH"
    assert (await client.get(PODS, "a", "default"))["spec"] == {"nodeName": ""}
    with pytest.raises(StaleCacheError):
        cache.require_fresh(PODS, "default/a")
    await clock.sleep(6)
    cache.require_fresh(PODS, "default/a")
    assert (await client.get(PODS, "a", "default"))["spec"] == {"nodeName": "n1"}
    await cache.stop()


@virtual_time
@pytest.mark.scenario("CC3")
async def test_a_kind_may_be_held_in_part(clock: VirtualClock) -> None:
    """Namespace, selectors and metadata alone narrow it at the server; a transform decides what is kept."""

    def without_spec(item: Object) -> Object:
        return {field: value for field, value in item.items() if field != "spec"}

    transport = ScriptedTransport(clock, [listing(PODS, "10", *pods()[:2]), listing(CONFIG_MAPS, "10")])
    cache = started(clock, transport)
    narrow = Scope(namespace="default", label_selector="app=web", field_selector="x=y", transform=without_spec)
    client = CachedClient(cache, scopes={PODS: narrow, CONFIG_MAPS: Scope(metadata_only=True)})
    found = await client.list(PODS, "default")
    assert [sorted(item) for item in found] == [["apiVersion", "kind", "metadata"]] * 2
    await client.list(CONFIG_MAPS)
    first, second = transport.lists
    assert first.path == "/api/v1/namespaces/default/pods"
    assert (first.query["labelSelector"], first.query["fieldSelector"]) == ("app=web", "x=y")
    assert "PartialObjectMetadata" in second.accept
    assert "PartialObjectMetadata" not in first.accept
    await cache.stop()


@virtual_time
@pytest.mark.scenario("CC3")
async def test_an_informer_that_is_removed_stops(clock: VirtualClock) -> None:
    """Its watch is closed and its objects are let go; who asks again gets a new one with a list of its own."""
    transport = ScriptedTransport(clock, [listing(PODS, "10", pod("a", "1")), listing(PODS, "20", pod("b", "12"))])
    cache = started(clock, transport)
    client = CachedClient(cache)
    await client.list(PODS)
    informer = cache.informer(PODS)
    await clock.sleep(1)
    assert transport.open_streams == 1
    await cache.remove(informer)
    await cache.remove(informer)
    assert (transport.open_streams, informer.is_stopped) == (0, True)
    assert [name(item) for item in await client.list(PODS)] == ["b"]
    assert cache.informer(PODS) is not informer
    await cache.stop()
