"""A NodeClaim's way up, against a real API server. Machines are made by a fake cloud; the test lets them join."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.controllers.nodeclaim.lifecycle.backoff import BackoffPolicy
from kaito_controller.controllers.nodeclaim.timing import Timing
from kaito_controller.kube.core import NODES
from kaito_controller.machinery.clock import RealClock
from kaito_controller.providers.errors import CreateError
from kaito_controller.providers.protocol import NodeClass
from kaito_controller.testing.cloud import FakeCloud
from kaito_controller.testing.provisioner import BRISK, claim, condition_of, provisioning, status_of, until

_numbers = itertools.count(1)


@pytest.fixture
def cloud():
    """A cloud with a node class of its own, so that claims of other tests are foreign to it."""
    return FakeCloud(RealClock(), node_classes=(NodeClass(group="kaito.sh", kind=f"UpClass{next(_numbers)}"),))


@pytest.fixture
def name():
    return f"up{next(_numbers)}"


async def test_a_claim_becomes_a_ready_node(apiserver, cloud, name):
    """Given a claim, when its machine joins, then claim and Node go through every step and belong together."""
    async with provisioning(apiserver.kubeconfig, cloud) as rig:
        await rig.create(claim(name, cloud.node_classes[0]))
        launched = await rig.launched(name)
        assert condition_of(launched, "Registered") == ("Unknown", "NodeNotFound")
        assert condition_of(launched, "Ready") == ("Unknown", "ReconcilingDependents")
        assert launched.metadata.finalizers == (keys.TERMINATION_FINALIZER,)
        assert launched.metadata.labels == {"team": "blue", keys.INSTANCE_TYPE: "Standard_NC6s_v3"}

        await rig.join(cloud.node(launched))
        ready = await rig.shows(name, "Ready", "True", "Ready")
        node = await rig.client.get(NODES, name)

    assert [condition_of(ready, step) for step in ("Launched", "Registered", "Initialized")] == [
        ("True", "Launched"),
        ("True", "Registered"),
        ("True", "Initialized"),
    ]
    assert ready.status.node_name == name
    assert ready.status.provider_id == cloud.instances[ready.metadata.uid].provider_id
    assert node["metadata"]["finalizers"] == [keys.TERMINATION_FINALIZER]
    assert [owner["uid"] for owner in node["metadata"]["ownerReferences"]] == [ready.metadata.uid]
    labels = node["metadata"]["labels"]
    assert labels[keys.NODE_REGISTERED] == labels[keys.NODE_INITIALIZED] == "true"
    assert labels["team"] == "blue"
    assert labels[cloud.node_classes[0].label] == "default"
    assert [taint["key"] for taint in node["spec"]["taints"]] == ["sku"]


async def test_a_node_without_gpus_is_not_initialized(apiserver, cloud, name):
    """Given a Node that is Ready without its GPU, when the device plugin registers it, then the claim becomes Ready."""
    async with provisioning(apiserver.kubeconfig, cloud) as rig:
        await rig.create(claim(name, cloud.node_classes[0]))
        await rig.join(cloud.node(await rig.launched(name), gpus="0"))
        waiting = await rig.shows(name, "Initialized", "Unknown", "ResourceNotRegistered")
        assert status_of(waiting, "Registered") == "True"
        size = {"nvidia.com/gpu": "1"}
        await rig.client.merge_patch(
            NODES, name, None, {"status": {"capacity": size, "allocatable": size}}, subresource="status"
        )
        await rig.shows(name, "Ready", "True")


async def test_a_foreign_class_is_left_alone(apiserver, cloud, name):
    """Given a claim of another provisioner's class, then nothing of ours ever touches it."""
    async with provisioning(apiserver.kubeconfig, cloud) as rig:
        foreign = NodeClass(group="karpenter.k8s.aws", kind="EC2NodeClass")
        before = await rig.create(claim(f"{name}f", foreign))
        await rig.create(claim(name, cloud.node_classes[0]))
        await rig.launched(name)
        after = await rig.claim(f"{name}f")
    assert after == before
    assert list(cloud.instances) != [before.metadata.uid]
    assert cloud.calls["create"] == 1


async def test_no_capacity_waits_without_looping_and_recovers(apiserver, cloud, name):
    """Given a full cloud, then the claim stays with reason and remedy, and launches after pauses when there is room."""
    cloud.limit = 0
    timing = Timing(capacity_backoff=BackoffPolicy(first_s=0.5, limit_s=60.0))
    async with provisioning(apiserver.kubeconfig, cloud, timing=timing) as rig:
        created = await rig.create(claim(name, cloud.node_classes[0]))
        refused = await rig.shows(name, "Launched", "False", "InsufficientCapacityError")
        assert "raise the limit" in next(one.message for one in refused.status.conditions if one.type == "Launched")
        assert condition_of(refused, "Ready") == ("False", "UnhealthyDependents")
        # Every write brings the claim back to the controller; none of them may reach the cloud within the pause.
        for count in range(20):
            patch = {"metadata": {"annotations": {"poke": str(count)}}}
            await rig.client.merge_patch(NODE_CLAIMS, name, None, patch)

        async def asked_again() -> bool:
            return cloud.calls["create"] >= 2

        await until("the cloud is asked again", asked_again)
        cloud.limit = 1
        launched = await rig.launched(name)
    assert cloud.calls["create"] <= 4
    assert launched.metadata.uid == created.metadata.uid


async def test_freed_capacity_goes_to_who_waits(apiserver, cloud, name):
    """Given a claim that waits for capacity with a long pause, when another is deleted, then it launches at once."""
    cloud.limit = 1
    timing = Timing(capacity_backoff=BackoffPolicy(first_s=600.0, limit_s=600.0), termination_poll_s=0.2)
    async with provisioning(apiserver.kubeconfig, cloud, timing=timing) as rig:
        await rig.create(claim(name, cloud.node_classes[0]))
        await rig.launched(name)
        await rig.create(claim(f"{name}b", cloud.node_classes[0]))
        await rig.shows(f"{name}b", "Launched", "False")
        await rig.client.delete(NODE_CLAIMS, name)
        await rig.launched(f"{name}b")
    assert cloud.calls["create"] == 3


async def test_a_refusal_is_told_and_tried_again(apiserver, cloud, name):
    """Given a cloud that refuses twice for its own reason, then the reason is shown and the third try succeeds."""
    cloud.failures.extend([CreateError("QuotaExceeded", "the quota is 0.")] * 2)
    timing = Timing(launch_backoff=BackoffPolicy(first_s=0.5, limit_s=0.5))
    async with provisioning(apiserver.kubeconfig, cloud, timing=timing) as rig:
        await rig.create(claim(name, cloud.node_classes[0]))
        await rig.shows(name, "Launched", "Unknown", "QuotaExceeded")
        await rig.launched(name)
    assert cloud.calls["create"] == 3


async def test_a_lost_answer_makes_no_second_machine(apiserver, cloud, name):
    """Given a cloud whose answer is lost after it made the machine, then the next try finds that machine."""
    cloud.lose_answers = 1
    async with provisioning(apiserver.kubeconfig, cloud) as rig:
        await rig.create(claim(name, cloud.node_classes[0]))
        await rig.launched(name)
    assert (cloud.calls["create"], len(cloud.instances)) == (2, 1)


async def test_a_restart_in_mid_launch_makes_no_second_machine(apiserver, cloud, name):
    """Given a controller that dies before it wrote down what the cloud made, then the next uses the same machine."""
    made = asyncio.Event()

    class Dying(FakeCloud):
        async def create(self, claim):
            instance = await super().create(claim)
            made.set()
            await asyncio.Event().wait()
            return instance

    dying = Dying(cloud.clock, node_classes=cloud.node_classes)
    async with provisioning(apiserver.kubeconfig, dying) as rig:
        await rig.create(claim(name, cloud.node_classes[0]))
        await asyncio.wait_for(made.wait(), 10)
    cloud.instances.update(dying.instances)
    async with provisioning(apiserver.kubeconfig, cloud) as rig:
        launched = await rig.launched(name)
    assert len(cloud.instances) == 1
    assert launched.status.provider_id == next(iter(cloud.instances.values())).provider_id


async def test_two_nodes_of_one_machine_are_refused(apiserver, cloud, name):
    """Given two Nodes with the machine's provider ID, then the claim says so and adopts neither."""
    async with provisioning(apiserver.kubeconfig, cloud) as rig:
        await rig.create(claim(name, cloud.node_classes[0]))
        node = cloud.node(await rig.launched(name), ready=False)
    twin = {**node, "metadata": {**node["metadata"], "name": f"{name}-twin"}}
    apiserver.apply(node, twin)
    async with provisioning(apiserver.kubeconfig, cloud) as rig:
        refused = await rig.shows(name, "Registered", "False", "MultipleNodesFound")
    assert condition_of(refused, "Ready") == ("False", "UnhealthyDependents")


async def test_a_machine_that_never_joins_is_given_up(apiserver, cloud, name):
    """Given a machine that does not join within the registration timeout, then claim and machine go."""
    timing = Timing(registration_timeout_s=1.0, termination_poll_s=0.2)
    async with provisioning(apiserver.kubeconfig, cloud, timing=timing) as rig:
        await rig.create(claim(name, cloud.node_classes[0]))
        await rig.launched(name)
        await rig.gone(NODE_CLAIMS, name)
    assert cloud.instances == {}


async def test_nothing_is_written_when_nothing_changes(apiserver, cloud, name):
    """Given a ready claim, when the controller is restarted, then it writes nothing to claim and Node."""
    async with provisioning(apiserver.kubeconfig, cloud) as rig:
        await rig.create(claim(name, cloud.node_classes[0]))
        await rig.join(cloud.node(await rig.launched(name)))
        await rig.shows(name, "Ready", "True")
        before = (await rig.client.get(NODE_CLAIMS, name), await rig.client.get(NODES, name))
    async with provisioning(apiserver.kubeconfig, cloud, timing=BRISK) as rig:
        # A second claim is launched after the first was looked at: the queue is in order.
        await rig.create(claim(f"{name}b", cloud.node_classes[0]))
        await rig.launched(f"{name}b")
        after = (await rig.client.get(NODE_CLAIMS, name), await rig.client.get(NODES, name))
    assert after == before
