"""What a user can get wrong: each mistake is told within a second, and correcting it goes on by itself."""

from __future__ import annotations

import json
import re
import time

import pytest

from kaito_controller.api import labels as keys
from kaito_controller.api.workspace import WORKSPACES
from kaito_controller.kube.core import NODES, SERVICES, STATEFUL_SETS
from kaito_controller.testing.builders import gpu_labels, manifest
from kaito_controller.testing.pace import on_this_machine
from kaito_controller.testing.scenario import condition_of, message_of, operator, stage

TELL_S = 1.0


@pytest.fixture
async def running(apiserver):
    """Run the operator, and wait until it has caught up with what other tests left."""
    async with operator(apiserver.kubeconfig) as started:
        await started.settled()
        yield started


async def remove(hands, name):
    """Delete a Workspace for which nothing was provisioned."""
    await hands.client.delete(WORKSPACES, name, hands.namespace)
    await hands.gone(WORKSPACES, name, hands.namespace)


MISTAKES = {
    "preset": (
        {"preset": "phi-4-mni-instruct"},
        "UnknownPreset",
        "nearest names: phi-4-mini-instruct",
        {"inference": {"preset": {"name": "phi-4-mini-instruct"}}},
    ),
    "sku": (
        {"instance_type": "Standard_NC24ads_A100"},
        "UnknownInstanceType",
        "Standard_NC24ads_A100_v4",
        {"resource": {"instanceType": "Standard_NC24ads_A100_v4"}},
    ),
    "conflict": (
        {"match_labels": {keys.OPERATING_SYSTEM: "windows"}},
        "SelectorInvalid",
        "no node can meet",
        {"resource": {"labelSelector": {"matchLabels": {keys.OPERATING_SYSTEM: "linux"}}}},
    ),
    "count": (
        {"preset": "falcon-40b-instruct", "instance_type": "Standard_NV36ads_A10_v5", "count": 2},
        "CountTooSmall",
        "are available",
        {"resource": {"count": 12}},
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_a_mistake_is_told_and_its_correction_goes_on(hands, running, mistake):
    """Given a mistake, then condition and event say so within a second; when it is corrected, a claim is made."""
    fields, reason, said, correction = MISTAKES[mistake]
    applied = time.monotonic()
    await hands.given_workspace(mistake, **fields)
    wrong = await hands.shows(mistake, "ResourceReady", "False", reason)
    assert time.monotonic() - applied < on_this_machine(TELL_S)
    assert said in message_of(wrong, "ResourceReady")
    assert condition_of(wrong, "WorkspaceSucceeded") == ("False", "workspaceFailed")
    assert said in await hands.told(mistake, reason)
    await hands.change_workspace(mistake, correction)
    corrected = await hands.shows(mistake, "NodeClaimReady", "False")
    assert condition_of(corrected, "WorkspaceSucceeded") == ("False", "workspacePending")
    await hands.node_claims(mistake, corrected["status"]["targetNodeCount"])
    await remove(hands, mistake)


async def test_a_workspace_that_nests_too_deep_to_be_read_stops_no_other(apiserver, tmp_path):
    """Given one of 1,500 levels, then the operator starts, tells of it by an event, and works for the others."""
    namespace, levels = apiserver.create_namespace("a-deep-one"), 1500
    body = json.dumps(manifest("deep", namespace, inference={"template": "abyss"}))
    (tmp_path / "deep.json").write_text(body.replace('"abyss"', '{"a":' * levels + "{}" + "}" * levels))
    apiserver.kubectl("create", "--raw", WORKSPACES.path(namespace), "-f", tmp_path / "deep.json")
    async with stage(apiserver.kubeconfig, namespace) as hands:
        async with operator(apiserver.kubeconfig):
            await hands.given_workspace("flat")
            await hands.node_claims("flat", 1)
            assert "nests too deep to be read" in await hands.told("deep", "ObjectUnfit")
            await remove(hands, "flat")
        apiserver.kubectl("delete", "--raw", WORKSPACES.path(namespace, "deep"))


async def test_fields_without_effect_are_listed(hands, running):
    """Given fields that nothing acts on yet, then SpecHonored lists them and the rest goes on."""
    inference = {
        "preset": {"name": "phi-4-mini-instruct", "accessMode": "private"},
    }
    await hands.given_workspace("partly", inference=inference)
    told = await hands.shows("partly", "SpecHonored", "False", "FieldsNotImplemented")
    assert "inference.preset.accessMode" in message_of(told, "SpecHonored")
    await hands.node_claims("partly", 1)
    await remove(hands, "partly")


async def test_an_instance_type_is_refused_where_no_nodes_are_made(apiserver, hands):
    """Given an operator with --node-provisioner byo, then an instance type is refused with the reason, and no claim."""
    from kaito_controller.app.options import NodeProvisioner

    async with operator(apiserver.kubeconfig, node_provisioner=NodeProvisioner.BYO):
        await hands.given_workspace("refused")
        refused = await hands.shows("refused", "ResourceReady", "False", "InstanceTypeRefused")
        assert "--node-provisioner byo" in message_of(refused, "ResourceReady")
        await hands.node_claims("refused", 0)
        await hands.change_workspace("refused", {"resource": {"instanceType": None}})
        await hands.shows("refused", "NodesReady", "False", "NodeNotReady")
        await remove(hands, "refused")


async def test_nodes_that_are_too_small_are_told_with_the_bytes(hands, running):
    """Given nodes too small for any share of a model, then the bytes are told; with larger GPUs it goes on."""
    pool = {"pool": f"small-{hands.namespace}"}
    size = {keys.NVIDIA_GPU: "1", "cpu": "8", "memory": "64Gi", "pods": "110"}
    await hands.join(f"small-{hands.namespace}", labels={**pool, **gpu_labels(memory_mib=2048)}, size=size)
    await hands.given_workspace("large", instance_type="", match_labels=pool)
    wrong = await hands.shows("large", "ResourceReady", "False", "ModelDoesNotFit")
    assert re.search(r"needs [0-9.]+Gi .* and [0-9.]+Gi are available", message_of(wrong, "ResourceReady"))
    assert "are available" in await hands.told("large", "ModelDoesNotFit")
    larger = {"metadata": {"labels": gpu_labels()}}
    await hands.client.merge_patch(NODES, f"small-{hands.namespace}", None, larger)
    await hands.stateful_set("large")
    await remove(hands, "large")
    await hands.remove(NODES, f"small-{hands.namespace}")


async def test_a_strangers_service_is_left_alone(hands, running):
    """Given somebody's Service of the same name, then it is not taken, and deleting it lets the Workspace go on."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "taken", "namespace": hands.namespace},
        "spec": {"ports": [{"port": 1234}], "selector": {"theirs": "true"}},
    }
    theirs = await hands.client.create(SERVICES, service)
    await hands.given_workspace("taken")
    told = await hands.shows("taken", "InferenceReady", "False", "WorkloadConflict")
    assert "has no owner" in message_of(told, "InferenceReady")
    assert await hands.client.get(SERVICES, "taken", hands.namespace) == theirs
    await hands.client.delete(SERVICES, "taken", hands.namespace)
    await hands.shows("taken", "InferenceReady", "False", "WorkspaceInferenceStatusPending")
    await remove(hands, "taken")


async def test_what_somebody_changed_is_put_right(hands, running):
    """Given a running workload, when somebody scales it or deletes it, then it is as planned again."""
    await hands.given_workspace("drifts")
    (claim,) = await hands.node_claims("drifts")
    await hands.provision(claim)
    made = await hands.stateful_set("drifts")
    await hands.client.merge_patch(STATEFUL_SETS, "drifts", hands.namespace, {"spec": {"replicas": 3}})

    async def replicas():
        found = await hands.find(STATEFUL_SETS, "drifts", hands.namespace)
        return found is not None and found["spec"]["replicas"] == 1

    from kaito_controller.testing.provisioner import until

    await until("one replica again", replicas)
    await hands.client.delete(STATEFUL_SETS, "drifts", hands.namespace)

    async def anew():
        found = await hands.find(STATEFUL_SETS, "drifts", hands.namespace)
        return found is not None and found["metadata"]["uid"] != made["metadata"]["uid"]

    await until("a new StatefulSet", anew)
    await hands.client.delete(WORKSPACES, "drifts", hands.namespace)
    await hands.node_claims("drifts", 0)
    await hands.release(claim)
    await hands.gone(WORKSPACES, "drifts", hands.namespace)


async def test_a_claim_without_capacity_is_not_asked_for_in_a_loop(hands, running):
    """Given a provisioner that deletes claims for want of capacity, then they are replaced with growing pauses."""
    from kaito_controller.api.nodeclaim import NODE_CLAIMS

    await hands.given_workspace("soldout")
    names = set()
    started = time.monotonic()
    while time.monotonic() - started < 4.0:
        for claim in await hands.node_claims("soldout", 1):
            names.add(claim["metadata"]["uid"])
            await hands.remove(NODE_CLAIMS, claim["metadata"]["name"])
    assert 2 <= len(names) <= 4
    await remove(hands, "soldout")
