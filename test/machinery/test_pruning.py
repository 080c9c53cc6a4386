"""Keeping of objects what is read: the rest never reaches the store."""

from __future__ import annotations

from random import Random

import pytest

from kaito_controller.app.kept import KEPT
from kaito_controller.kube.core import JOBS, NODES, PODS, STATEFUL_SETS
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.serde import structure
from kaito_controller.kube.shapes import NodeShape, PodShape
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.cache.cached_client import CachedClient
from kaito_controller.machinery.cache.deep_copy import deep_copy
from kaito_controller.machinery.cache.pruning import keeping
from kaito_controller.machinery.client.client import Client
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.transport import ScriptedTransport, listing, obj

BUDGET_S = 20e-6
"""Of our own work per event after decoding."""


def pod(number: int, version: int = 1) -> Object:
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": f"s{number % 500}", "uid": "z", "controller": True}
    made = obj(PODS, f"p{number}", str(version))
    made["metadata"] |= {
        "labels": {"app": f"a{number % 100}", "x": "y"},
        "managedFields": [{"manager": "kubelet"}],
        "ownerReferences": [owner],
    }
    ended = {"terminated": {"reason": "Error", "exitCode": 3, "message": "said"}}
    status = {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": None}],
        "containerStatuses": [{"name": "c", "state": {"running": {}}, "lastState": ended, "imageID": "x"}],
    }
    return {**made, "spec": {"nodeName": f"n{number % 100}", "containers": [{"name": "c"}]}, "status": status}


def test_fields_are_kept_by_their_paths() -> None:
    """Metadata always; of the rest what is named, and whole what ends where a path goes on."""
    prune = keeping("spec.nodeName", "status")
    kept = prune(deep_copy(pod(1)))
    assert kept["spec"] == {"nodeName": "n1"}
    assert kept["status"] == pod(1)["status"]
    assert sorted(kept) == ["apiVersion", "kind", "metadata", "spec", "status"]
    assert "managedFields" not in kept["metadata"]
    assert prune({**pod(1), "spec": "text"})["spec"] == "text"
    assert "spec" not in prune({name: value for name, value in pod(1).items() if name != "spec"})


def test_the_operator_keeps_what_it_reads() -> None:
    """A pruned Pod or Node has the same shape as the whole one, and less in it."""
    node = obj(
        NODES, "n", "1", namespace="", spec={"providerID": "x", "taints": [{"key": "a", "effect": "NoSchedule"}]}
    )
    node["status"] = {
        "capacity": {"cpu": "1"},
        "allocatable": {"cpu": "1"},
        "conditions": [{"type": "Ready", "status": "True"}],
        "images": [{"names": ["a"]}],
    }
    for resource, shape, whole in ((PODS, PodShape, pod(1)), (NODES, NodeShape, node)):
        kept = KEPT[resource](deep_copy(whole))
        assert structure(shape, kept) == structure(shape, whole)
        assert len(str(kept)) < len(str(whole))


def test_of_a_job_its_pods_template_was_kept() -> None:
    """What it was made from is told by an annotation; what is read beside is how it ended."""
    job = obj(JOBS, "j", "1", spec={"template": {"spec": {"containers": ["large"]}}})
    job["status"] = {"conditions": [{"type": "Complete", "status": "True"}], "uncountedTerminatedPods": {}}
    kept = KEPT[JOBS](deep_copy(job))
    assert kept == {key: job[key] for key in ("apiVersion", "kind", "metadata")} | {
        "status": {"conditions": [{"type": "Complete", "status": "True"}]}
    }


@virtual_time
@pytest.mark.scenario("CC3")
async def test_a_cache_keeps_a_kind_in_one_way_for_all(clock: VirtualClock) -> None:
    """Watches, views and the cached client share one informer with the transform of the kind; others are stripped."""
    answers = [listing(PODS, "10", pod(1)), listing(STATEFUL_SETS, "10", obj(STATEFUL_SETS, "s", "1", spec={"a": 1}))]
    transforms = {PODS: keeping("spec.nodeName")}
    cache = Cache(Client(ScriptedTransport(clock, answers)), clock, rng=Random(1), transforms=transforms)
    informer = cache.informer(PODS)
    cache.start()
    client = CachedClient(cache)
    [found] = await client.list(PODS)
    assert (found["spec"], "status" in found) == ({"nodeName": "n1"}, False)
    assert cache.informer(PODS) is informer
    [other] = await client.list(STATEFUL_SETS)
    assert other["spec"] == {"a": 1}
    await cache.stop()
