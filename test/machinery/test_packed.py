"""Parts of cached objects kept as text."""

from __future__ import annotations

import copy
from random import Random

import pytest

from kaito_controller.app.kept import KEPT
from kaito_controller.kube.core import SERVICES, STATEFUL_SETS
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.cache.cached_client import CachedClient
from kaito_controller.machinery.cache.deep_copy import deep_copy
from kaito_controller.machinery.cache.mutation import VARIABLE
from kaito_controller.machinery.cache.packed import Packed, packing, unpacked
from kaito_controller.machinery.cache.transform import strip
from kaito_controller.machinery.client.client import Client
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.transport import ScriptedTransport, listing, obj

SPEC = {"replicas": 1, "template": {"spec": {"containers": [{"name": "ü", "args": ["--a", "b"]}]}}}


def test_what_is_packed_comes_back_as_it_was() -> None:
    """The named fields are text, the others as they were; an object without any is handed back itself."""
    made = packing(strip, "spec", "absent")(obj(STATEFUL_SETS, "s", "1", spec=copy.deepcopy(SPEC), status={"a": 1}))
    assert isinstance(made["spec"], Packed)
    assert made["status"] == {"a": 1}
    whole = unpacked(made)
    assert whole == obj(STATEFUL_SETS, "s", "1", spec=SPEC, status={"a": 1})
    assert unpacked(whole) is whole


def test_what_is_unpacked_may_be_changed() -> None:
    """It is made anew each time, so nobody else sees the change."""
    made = packing(strip, "spec")(obj(STATEFUL_SETS, "s", "1", spec=copy.deepcopy(SPEC)))
    unpacked(made)["spec"]["replicas"] = 2
    deep_copy(made)["spec"]["replicas"] = 3
    assert unpacked(made)["spec"] == SPEC


def test_equal_values_are_equal_packed() -> None:
    """As the detector of changes in the cache and sets need it."""
    assert Packed({"a": [1]}) == Packed({"a": [1]})
    assert Packed({"a": [1]}) != Packed({"a": [2]})
    assert Packed({}) != {}
    assert len({Packed("a"), Packed("a")}) == 1
    assert copy.deepcopy(Packed(SPEC)) == Packed(SPEC)
    assert "replicas" in repr(Packed(SPEC))


@virtual_time
async def test_readers_of_the_cache_get_whole_objects(clock: VirtualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cached client's copies are whole, and the detector of changes knows packed parts."""
    monkeypatch.setenv(VARIABLE, "true")
    body = obj(SERVICES, "a", "1", spec={"ports": [{"port": 80}]}, status={"loadBalancer": {}})
    transport = ScriptedTransport(clock, [listing(SERVICES, "10", copy.deepcopy(body))])
    cache = Cache(Client(transport), clock, rng=Random(1), transforms=KEPT)
    informer = cache.informer(SERVICES)
    cache.start()
    assert await CachedClient(cache).list(SERVICES) == [body]
    [kept] = informer.store.list()
    assert isinstance(kept["spec"], Packed)
    await cache.stop()
