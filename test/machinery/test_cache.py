"""The cache: one informer per question, and reads that are never older than our own writes."""

from __future__ import annotations

import pytest

from kaito_controller.kube.core import CONFIG_MAPS, NODES
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.cache.cache import Cache, CacheSyncError, StaleCacheError
from kaito_controller.machinery.cache.resource_version import is_older
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.errors import ApiError
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.transport import ScriptedTransport, Stream, bookmark, event, listing, obj

KEY = "default/a"


def cm(version: str) -> Object:
    return obj(CONFIG_MAPS, "a", version)


def cache_on(clock: VirtualClock, *answers: Object | Exception, streams: list[Stream] | None = None) -> Cache:
    return Cache(Client(ScriptedTransport(clock, answers, streams or [])), clock)


@virtual_time
@pytest.mark.scenario("CC3")
async def test_the_same_question_gives_the_same_informer(clock: VirtualClock) -> None:
    """One watch per kind, namespace and selectors; one asked for later starts at once."""
    cache = cache_on(clock, listing(CONFIG_MAPS, "10"), listing(NODES, "10"))
    first = cache.informer(CONFIG_MAPS)
    assert cache.informer(CONFIG_MAPS) is first
    assert cache.informer(CONFIG_MAPS, namespace="x") is not cache.informer(CONFIG_MAPS, label_selector="a=b")
    fresh = cache_on(clock, listing(CONFIG_MAPS, "10"), listing(NODES, "10"))
    fresh.informer(CONFIG_MAPS)
    fresh.start()
    await fresh.wait_synced()
    late = fresh.informer(NODES)
    await fresh.wait_synced()
    assert late.has_synced
    await fresh.stop()


@virtual_time
@pytest.mark.scenario("EX5", "CC4")
async def test_a_read_is_stale_until_the_cache_shows_our_write(clock: VirtualClock) -> None:
    """Fresh, stale after our write, fresh again once the watch has brought it."""
    streams = [Stream([5.0, event("MODIFIED", cm("20"))], stays=True)]
    cache = cache_on(clock, listing(CONFIG_MAPS, "10", cm("4")), streams=streams)
    cache.informer(CONFIG_MAPS)
    cache.start()
    await cache.wait_synced()
    assert not cache.is_stale(CONFIG_MAPS, KEY)
    cache.written(CONFIG_MAPS, cm("20"))
    assert cache.is_stale(CONFIG_MAPS, KEY)
    with pytest.raises(StaleCacheError, match="default/a"):
        cache.require_fresh(CONFIG_MAPS, KEY)
    await clock.sleep(6)
    assert not cache.is_stale(CONFIG_MAPS, KEY)
    cache.require_fresh(CONFIG_MAPS, KEY)
    await cache.stop()


@virtual_time
@pytest.mark.scenario("EX5")
async def test_a_write_that_changed_nothing_or_left_the_selection_is_no_wait(clock: VirtualClock) -> None:
    """A no-op returns a version that is here; a bookmark beyond the write shows that nothing else will come."""
    streams = [Stream([5.0, bookmark(CONFIG_MAPS, "30")], stays=True)]
    cache = cache_on(clock, listing(CONFIG_MAPS, "10", cm("4")), streams=streams)
    cache.informer(CONFIG_MAPS)
    cache.start()
    await cache.wait_synced()
    cache.written(CONFIG_MAPS, cm("4"))
    assert not cache.is_stale(CONFIG_MAPS, KEY)
    cache.written(CONFIG_MAPS, cm("25"))
    assert cache.is_stale(CONFIG_MAPS, KEY)
    await clock.sleep(6)
    assert not cache.is_stale(CONFIG_MAPS, KEY)
    await cache.stop()


@virtual_time
async def test_a_write_is_not_waited_for_without_end(clock: VirtualClock) -> None:
    """A watch that lags a minute is broken: the reconciler goes on, and idempotent writes do no harm."""
    cache = cache_on(clock, listing(CONFIG_MAPS, "10", cm("4")))
    cache.informer(CONFIG_MAPS)
    cache.start()
    await cache.wait_synced()
    cache.written(CONFIG_MAPS, cm("20"))
    await clock.sleep(59)
    assert cache.is_stale(CONFIG_MAPS, KEY)
    await clock.sleep(2)
    assert not cache.is_stale(CONFIG_MAPS, KEY)
    await cache.stop()


@virtual_time
async def test_an_older_write_does_not_hide_a_newer_one(clock: VirtualClock) -> None:
    """Two writes whose answers arrive in the wrong order: the newer one is waited for."""
    cache = cache_on(clock, listing(CONFIG_MAPS, "10", cm("4")))
    cache.informer(CONFIG_MAPS)
    cache.start()
    await cache.wait_synced()
    cache.written(CONFIG_MAPS, cm("20"))
    cache.written(CONFIG_MAPS, cm("9"))
    assert cache.is_stale(CONFIG_MAPS, KEY)
    await cache.stop()


@virtual_time
@pytest.mark.scenario("CT10")
async def test_a_list_that_does_not_come_is_named_with_its_reason(clock: VirtualClock) -> None:
    """The error names the kind and what the server said."""
    cache = cache_on(clock, *[ApiError(403, "Forbidden", "configmaps is forbidden")] * 20)
    cache.informer(CONFIG_MAPS)
    cache.start()
    with pytest.raises(CacheSyncError, match=r"within 120 s: configmaps: 403 Forbidden: configmaps is forbidden"):
        await cache.wait_synced()
    await cache.stop()


@pytest.mark.scenario("ST8")
def test_resource_versions_compare_as_numbers() -> None:
    """Shorter is older; empty, 0, leading zeros and words are refused."""
    assert is_older("9", "10")
    assert not is_older("10", "10")
    for wrong in ("", "0", "01", "x1", "-1"):
        with pytest.raises(ValueError, match="resourceVersion"):
            is_older(wrong, "1")
