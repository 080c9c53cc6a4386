"""The way down, against a real API server: claims and Nodes that are deleted, drains, and what was half made."""

from __future__ import annotations

import itertools

import pytest

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.controllers.nodeclaim.lifecycle.backoff import BackoffPolicy
from kaito_controller.controllers.nodeclaim.timing import Timing
from kaito_controller.kube.core import NODES, PODS
from kaito_controller.machinery.clock import RealClock
from kaito_controller.providers.errors import CreateError
from kaito_controller.providers.protocol import NodeClass
from kaito_controller.testing.cloud import FakeCloud
from kaito_controller.testing.provisioner import claim, condition_of, provisioning, status_of, until

_numbers = itertools.count(1)
RUN = {"name": "main", "image": "kaito.local/pause:1"}
BUDGET = "policy/v1"


@pytest.fixture
def cloud():
    """A cloud with a node class of its own, so that claims of other tests are foreign to it."""
    return FakeCloud(RealClock(), node_classes=(NodeClass(group="kaito.sh", kind=f"DownClass{next(_numbers)}"),))


@pytest.fixture
def name():
    return f"down{next(_numbers)}"


def pod(name, namespace, node, **spec):
    """A pod that runs on a Node, as the kubelet would show it."""
    head = {"name": name, "namespace": namespace, "labels": {"app": name}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": head,
        "spec": {"nodeName": node, "containers": [RUN], "terminationGracePeriodSeconds": 5, **spec},
    }


async def ready_node(rig, cloud, name, **spec):
    """Bring a claim all the way up and return it."""
    await rig.create(claim(name, cloud.node_classes[0], **spec))
    await rig.join(cloud.node(await rig.launched(name)))
    return await rig.shows(name, "Ready", "True")


async def run(rig, made):
    """Create a pod and let it run: pods that do not run yet are evicted whatever a budget says."""
    created = await rig.client.create(PODS, made)
    head = created["metadata"]
    running = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
    await rig.client.merge_patch(PODS, head["name"], head["namespace"], running, subresource="status")


async def leaving(rig, name, namespace):
    """Whether a pod was asked to leave."""
    found = await rig.client.get(PODS, name, namespace)
    return "deletionTimestamp" in found["metadata"]


def kill(apiserver, name, namespace):
    """What a kubelet does at the end of a pod."""
    apiserver.kubectl("delete", "pod", name, f"--namespace={namespace}", "--force", "--grace-period=0")


async def test_deleting_a_claim_drains_and_ends_its_node(apiserver, namespace, cloud, name):
    """Given a ready node with a pod, when its claim is deleted, then pod, machine, Node and claim go, in this order."""
    async with provisioning(apiserver.kubeconfig, cloud) as rig:
        await ready_node(rig, cloud, name)
        await run(rig, pod("served", namespace, name))
        await rig.client.delete(NODE_CLAIMS, name)
        draining = await rig.shows(name, "Drained", "Unknown", "Draining")
        assert any(f"{namespace}/served" in one.message for one in draining.status.conditions)
        await until("the pod is evicted", lambda: leaving(rig, "served", namespace))
        node = await rig.client.get(NODES, name)
        assert {"key": keys.TAINT_DISRUPTED, "effect": "NoSchedule"} in node["spec"]["taints"]
        assert node["metadata"]["labels"][keys.EXCLUDE_FROM_LOAD_BALANCERS] == "karpenter"
        assert cloud.calls["delete"] == 0

        kill(apiserver, "served", namespace)
        await rig.gone(NODES, name)
        await rig.gone(NODE_CLAIMS, name)
    assert cloud.instances == {}


async def test_deleting_a_node_takes_everything_down(apiserver, cloud, name):
    """Given a ready node, when somebody runs kubectl delete node, then claim and machine go with it."""
    async with provisioning(apiserver.kubeconfig, cloud) as rig:
        await ready_node(rig, cloud, name)
        apiserver.kubectl("delete", "node", name, "--wait=false")
        await rig.gone(NODES, name)
        await rig.gone(NODE_CLAIMS, name)
    assert cloud.instances == {}


async def test_pods_leave_in_groups(apiserver, namespace, cloud, name):
    """Given an ordinary and a critical pod, then the critical one is asked to leave only when the other has gone."""
    async with provisioning(apiserver.kubeconfig, cloud) as rig:
        await ready_node(rig, cloud, name)
        await run(rig, pod("ordinary", namespace, name))
        await run(rig, pod("critical", namespace, name, priorityClassName="system-node-critical"))
        tolerant = [{"operator": "Exists"}]
        await run(rig, pod("tolerant", namespace, name, tolerations=tolerant))
        await rig.client.delete(NODE_CLAIMS, name)
        await until("the ordinary pod is evicted", lambda: leaving(rig, "ordinary", namespace))
        assert not await leaving(rig, "critical", namespace)
        kill(apiserver, "ordinary", namespace)
        await until("the critical pod is evicted", lambda: leaving(rig, "critical", namespace))
        kill(apiserver, "critical", namespace)
        await rig.gone(NODE_CLAIMS, name)
        assert not await leaving(rig, "tolerant", namespace)


async def test_a_budget_is_honoured_until_the_grace_period_ends(apiserver, namespace, cloud, name):
    """Given a budget that forbids eviction, then the drain waits for it, but not beyond terminationGracePeriod."""
    async with provisioning(apiserver.kubeconfig, cloud) as rig:
        await ready_node(rig, cloud, name, terminationGracePeriod="8s")
        await run(rig, pod("guarded", namespace, name))
        selector = {"matchLabels": {"app": "guarded"}}
        apiserver.apply(
            {
                "apiVersion": BUDGET,
                "kind": "PodDisruptionBudget",
                "metadata": {"name": "guard", "namespace": namespace},
                "spec": {"minAvailable": 1, "selector": selector},
            }
        )
        await rig.client.delete(NODE_CLAIMS, name)
        await rig.shows(name, "Drained", "Unknown", "Draining")
        assert not await leaving(rig, "guarded", namespace)
        assert keys.TERMINATION_TIMESTAMP in (await rig.claim(name)).metadata.annotations
        await until("the pod is deleted when its own grace just fits", lambda: leaving(rig, "guarded", namespace))
        await rig.gone(NODE_CLAIMS, name)
    assert cloud.instances == {}


async def test_a_slow_end_is_waited_for(apiserver, cloud, name):
    """Given a cloud that takes its time to end a machine, then Node and claim stay until it is gone, and say so."""
    cloud.polls_to_end = 3
    async with provisioning(apiserver.kubeconfig, cloud) as rig:
        await ready_node(rig, cloud, name)
        await rig.client.delete(NODE_CLAIMS, name)
        ending = await rig.shows(name, "InstanceTerminating", "True")
        assert condition_of(ending, "Drained") == ("True", "Drained")
        assert condition_of(ending, "VolumesDetached") == ("True", "VolumesDetached")
        await rig.gone(NODE_CLAIMS, name)
    assert cloud.calls["delete"] >= 4


async def test_a_claim_that_never_launched_goes(apiserver, cloud, name):
    """Given a claim that no machine was made for, when it is deleted, then it goes."""
    cloud.limit = 0
    async with provisioning(apiserver.kubeconfig, cloud) as rig:
        await rig.create(claim(name, cloud.node_classes[0]))
        await rig.shows(name, "Launched", "False")
        await rig.client.delete(NODE_CLAIMS, name)
        await rig.gone(NODE_CLAIMS, name)


async def test_a_machine_whose_launch_was_not_written_down_is_ended(apiserver, cloud, name):
    """Given a claim without provider ID whose machine exists, when it is deleted, then the machine is found by UID."""
    cloud.lose_answers = 100
    timing = Timing(launch_backoff=BackoffPolicy(first_s=600.0, limit_s=600.0), termination_poll_s=0.2)
    async with provisioning(apiserver.kubeconfig, cloud, timing=timing) as rig:
        await rig.create(claim(name, cloud.node_classes[0]))
        lost = await rig.shows(name, "Launched", "Unknown", "LaunchFailed")
        assert (lost.status.provider_id, len(cloud.instances)) == ("", 1)
        await rig.client.delete(NODE_CLAIMS, name)
        await rig.gone(NODE_CLAIMS, name)
    assert cloud.instances == {}


async def test_a_node_whose_launch_was_not_written_down_goes_with_its_machine(apiserver, cloud, name):
    """Given a claim without provider ID whose machine has joined, when it is deleted, then no Node is left behind."""
    cloud.lose_answers = 100
    timing = Timing(launch_backoff=BackoffPolicy(first_s=600.0, limit_s=600.0), termination_poll_s=0.2)
    async with provisioning(apiserver.kubeconfig, cloud, timing=timing) as rig:
        await rig.create(claim(name, cloud.node_classes[0]))
        await rig.join(cloud.node(await rig.shows(name, "Launched", "Unknown", "LaunchFailed")))
        await rig.client.delete(NODE_CLAIMS, name)
        await rig.gone(NODE_CLAIMS, name)
        await rig.gone(NODES, name)
    assert cloud.instances == {}


async def test_a_lost_machine_is_not_drained(apiserver, namespace, cloud, name):
    """Given a Node that does not report and whose machine is gone, when it is deleted, then it goes at once."""
    async with provisioning(apiserver.kubeconfig, cloud) as rig:
        up = await ready_node(rig, cloud, name)
        await run(rig, pod("stranded", namespace, name))
        cloud.vanish(up.metadata.uid)
        down = {"status": {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]}}
        await rig.client.merge_patch(NODES, name, None, down, subresource="status")
        await rig.client.delete(NODES, name)
        await rig.gone(NODES, name)
        await rig.gone(NODE_CLAIMS, name)
        assert not await leaving(rig, "stranded", namespace)


async def test_a_foreign_node_keeps_its_finalizer(apiserver, cloud, name):
    """Given a Node of another Karpenter that carries the same finalizer, when it is deleted, then it is left alone."""
    foreign = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"{name}f", "finalizers": [keys.TERMINATION_FINALIZER]},
        "spec": {"providerID": f"aws:///{name}"},
    }
    async with provisioning(apiserver.kubeconfig, cloud) as rig:
        await rig.client.create(NODES, foreign)
        await rig.client.delete(NODES, f"{name}f")
        before = await rig.client.get(NODES, f"{name}f")
        await ready_node(rig, cloud, name)
        await rig.client.delete(NODE_CLAIMS, name)
        await rig.gone(NODE_CLAIMS, name)
        after = await rig.client.get(NODES, f"{name}f")
    assert after == before


async def test_a_machine_without_claim_is_collected_by_age(apiserver, cloud, name):
    """Given a machine whose claim was removed by force, then it is ended once it is old enough, and not before."""
    cloud.failures.clear()
    timing = Timing(orphan_age_s=0.0)
    async with provisioning(apiserver.kubeconfig, cloud) as rig:
        await ready_node(rig, cloud, name)
        await rig.client.merge_patch(NODES, name, None, {"metadata": {"ownerReferences": None}})
    apiserver.kubectl("patch", "nodeclaim", name, "--type=merge", '--patch={"metadata":{"finalizers":null}}')
    apiserver.kubectl("delete", "nodeclaim", name)
    async with provisioning(apiserver.kubeconfig, cloud) as rig:
        await rig.provisioner.garbage_collector.collect()
        assert len(cloud.instances) == 1
    async with provisioning(apiserver.kubeconfig, cloud, timing=timing) as rig:
        await rig.provisioner.garbage_collector.collect()
        await rig.gone(NODES, name)
    assert cloud.instances == {}


async def test_a_claim_without_machine_is_collected(apiserver, cloud, name):
    """Given a claim whose machine vanished, then it is deleted once its Node does not report any more."""
    async with provisioning(apiserver.kubeconfig, cloud) as rig:
        up = await ready_node(rig, cloud, name)
        cloud.vanish(up.metadata.uid)
        await rig.provisioner.garbage_collector.collect()
        assert (await rig.claim(name)).metadata.deletion_timestamp is None
        down = {"status": {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]}}
        await rig.client.merge_patch(NODES, name, None, down, subresource="status")

        async def collected():
            await rig.provisioner.garbage_collector.collect()
            return not await rig.exists(NODE_CLAIMS, name)

        await until("the claim is collected", collected)
        await rig.gone(NODES, name)


async def test_a_launch_that_always_fails_is_given_up(apiserver, cloud, name):
    """Given a cloud that refuses every time for its own reason, then the claim is deleted after the launch timeout."""
    cloud.failures.extend([CreateError("QuotaExceeded", "the quota is 0.")] * 1000)
    timing = Timing(launch_timeout_s=2.0, launch_backoff=BackoffPolicy(first_s=0.2, limit_s=0.5))
    async with provisioning(apiserver.kubeconfig, cloud, timing=timing) as rig:
        await rig.create(claim(name, cloud.node_classes[0]))
        refused = await rig.shows(name, "Launched", "Unknown", "QuotaExceeded")
        assert status_of(refused, "Ready") == "Unknown"
        await rig.gone(NODE_CLAIMS, name)
    assert cloud.calls["create"] < 12
