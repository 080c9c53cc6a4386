"""The way of one Workspace against a real API server, from apply to READY and down again.

The node provisioner and the StatefulSet controller are played by the test (see `kaito_controller.testing.scenario`).
"""

from __future__ import annotations

import time

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.api.workspace import WORKSPACES
from kaito_controller.kube.core import CONTROLLER_REVISIONS, NODES, SERVICES, STATEFUL_SETS
from kaito_controller.testing.builders import gpu_labels
from kaito_controller.testing.pace import on_this_machine
from kaito_controller.testing.scenario import condition_of, operator


async def ready(hands, name, **fields):
    """Bring a Workspace to READY and return its only claim."""
    await hands.given_workspace(name, **fields)
    (claim,) = await hands.node_claims(name)
    await hands.provision(claim)
    await hands.serve(name)
    await hands.shows(name, "WorkspaceSucceeded", "True")
    return claim


async def test_from_apply_to_ready(apiserver, hands):
    """Given a Workspace, its NodeClaim is there within a second; when node and pods are ready, it is READY."""
    async with operator(apiserver.kubeconfig) as running:
        await running.settled()
        applied = time.monotonic()
        await hands.given_workspace("demo")
        (claim,) = await hands.node_claims("demo")
        assert time.monotonic() - applied < on_this_machine(1.0)
        labels = claim["metadata"]["labels"]
        assert (labels[keys.WORKSPACE_NAME], labels[keys.WORKSPACE_NAMESPACE]) == ("demo", hands.namespace)
        assert claim["spec"]["expireAfter"] == "Never"
        assert claim["spec"]["nodeClassRef"] == {"group": "kaito.sh", "kind": "KaitoNodeClass", "name": "default"}
        assert claim["metadata"]["name"].startswith("ws")
        assert len(claim["metadata"]["name"]) == 11
        await hands.shows("demo", "NodeClaimReady", "False")
        assert await hands.find(STATEFUL_SETS, "demo", hands.namespace) is None

        await hands.provision(claim)
        await hands.shows("demo", "ResourceReady", "True", "workspaceResourceStatusSuccess")
        workload = await hands.stateful_set("demo")
        assert workload["metadata"]["ownerReferences"][0]["kind"] == "Workspace"
        for service in ("demo", "demo-headless"):
            assert await hands.find(SERVICES, service, hands.namespace) is not None
        await hands.serve("demo")
        served = await hands.shows("demo", "WorkspaceSucceeded", "True", "workspaceSucceeded")
        status = served["status"]
        assert (status["state"], status["targetNodeCount"]) == ("Ready", 1)
        assert status["workerNodes"] == [claim["metadata"]["name"]]
        assert keys.WORKSPACE_FINALIZER in served["metadata"]["finalizers"]
        assert served["metadata"]["annotations"][keys.WORKSPACE_REVISION] == "1"
        revisions = await hands.client.list(CONTROLLER_REVISIONS, hands.namespace)
        assert [revision["revision"] for revision in revisions] == [1]
        for reason in ("NodeClaimCreated", "NodesReady", "WorkloadCreated", "ServiceCreated", "WorkspaceReady"):
            assert await hands.told("demo", reason)

        columns = apiserver.kubectl("get", "workspaces.v1beta1.kaito.sh", "demo", "--namespace", hands.namespace)
        assert columns.split()[:8] == [
            *("NAME", "INSTANCE", "RESOURCEREADY", "INFERENCEREADY"),
            *("JOBSTARTED", "WORKSPACESUCCEEDED", "TARGETNODECOUNT", "STATE"),
        ]
        assert "Ready" in columns.splitlines()[1].split()
        await hands.take_down("demo", claim)


async def test_an_idle_operator_writes_nothing(apiserver, hands):
    """Given a READY Workspace, when nothing changes, then nothing is written; a restarted operator writes nothing."""
    async with operator(apiserver.kubeconfig) as running:
        claim = await ready(hands, "idle")
        before = await running.settled()
        await hands.client.merge_patch(
            NODES, claim["metadata"]["name"], None, {"metadata": {"annotations": {"a": "b"}}}
        )
        assert await running.settled() == before
    object_before = await hands.workspace("idle")
    async with operator(apiserver.kubeconfig) as restarted:
        assert await restarted.settled() == 0
        assert await hands.workspace("idle") == object_before
        await hands.take_down("idle", claim)


async def test_the_first_version_of_the_api_works(apiserver, hands):
    """Given a Workspace in v1alpha1 without labels beyond the tutorials', then it is made all the same."""
    body = {
        "apiVersion": "kaito.sh/v1alpha1",
        "kind": "Workspace",
        "metadata": {"name": "old", "namespace": hands.namespace},
        "resource": {"instanceType": "Standard_NC6s_v3", "count": 1, "labelSelector": {"matchLabels": {"apps": "f"}}},
        "inference": {"preset": {"name": "falcon-7b-instruct"}},
    }
    apiserver.apply(body)
    async with operator(apiserver.kubeconfig):
        planned = await hands.shows("old", "NodeClaimReady", "False")
        claims = await hands.node_claims("old", planned["status"]["targetNodeCount"])
        for claim in claims:
            await hands.provision(claim)
        await hands.serve("old")
        await hands.shows("old", "WorkspaceSucceeded", "True")
        columns = apiserver.kubectl("get", "workspaces.v1alpha1.kaito.sh", "old", "--namespace", hands.namespace)
        header, row = (line.split() for line in columns.splitlines()[:2])
        assert dict(zip(header, row, strict=True))["WORKSPACEREADY"] == "True"
        await hands.take_down("old", *claims)


async def test_deletion_goes_down_in_order(apiserver, hands):
    """Given a READY Workspace, when it is deleted, then workload, pods, claims and it go, each after the last."""
    async with operator(apiserver.kubeconfig):
        claim = await ready(hands, "leaving")
        node = claim["metadata"]["name"]
        await hands.pod("leaving", node_name=node, status={"phase": "Running"})
        await hands.client.delete(WORKSPACES, "leaving", hands.namespace)
        await hands.gone(STATEFUL_SETS, "leaving", hands.namespace)
        await hands.shows("leaving", "WorkspaceDeleting", "True", "workspaceDeleted")
        assert len(await hands.node_claims("leaving", 1)) == 1
        await hands.end_pod("leaving")
        await hands.node_claims("leaving", 0)
        assert await hands.find(WORKSPACES, "leaving", hands.namespace) is not None
        assert await hands.told("leaving", "NodeClaimDeleted")
        await hands.release(claim)
        await hands.gone(WORKSPACES, "leaving", hands.namespace)


async def test_a_lost_claim_is_replaced_once(apiserver, hands):
    """Given a READY Workspace, when its claim is deleted, then one claim under the next index replaces it."""
    async with operator(apiserver.kubeconfig):
        claim = await ready(hands, "loses")
        await hands.client.delete(NODE_CLAIMS, claim["metadata"]["name"])
        (second,) = await hands.node_claims("loses")
        assert second["metadata"]["name"] != claim["metadata"]["name"]
        await hands.release(claim)
        await hands.provision(second)
        await hands.shows("loses", "ResourceReady", "True")
        assert [one["metadata"]["name"] for one in await hands.node_claims("loses")] == [second["metadata"]["name"]]
        await hands.take_down("loses", second)


async def test_existing_nodes(apiserver, hands):
    """Given labelled nodes and no instance type, then no claim is made and the workload comes when a node is there."""
    async with operator(apiserver.kubeconfig):
        selector = {"pool": hands.namespace}
        await hands.given_workspace("own", instance_type="", match_labels=selector)
        await hands.shows("own", "NodesReady", "False", "NodeNotReady")
        size = {keys.NVIDIA_GPU: "1", "cpu": "8", "memory": "64Gi", "pods": "110"}
        node = f"{hands.namespace}-own"
        await hands.join(node, labels={**selector, **gpu_labels()}, size=size)
        await hands.shows("own", "ResourceReady", "True")
        await hands.stateful_set("own")
        await hands.serve("own")
        served = await hands.shows("own", "WorkspaceSucceeded", "True")
        assert condition_of(served, "NodeClaimReady") == ("", "")
        await hands.node_claims("own", 0)
        await hands.remove(NODES, node)
        await hands.shows("own", "WorkspaceSucceeded", "False")
        await hands.take_down("own")


async def test_a_changed_spec_reaches_the_pods(apiserver, hands):
    """Given a READY Workspace, when its configuration changes, so does the template; meanwhile it is not ready."""
    async with operator(apiserver.kubeconfig):
        claim = await ready(hands, "changes")
        before = await hands.stateful_set("changes")
        config = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "mine", "namespace": hands.namespace},
            "data": {"inference_config.yaml": "vllm:\n  max-model-len: 4096\n"},
        }
        await hands.change_workspace("changes", {"inference": {"config": "mine"}})
        await hands.shows("changes", "InferenceReady", "False", "ConfigMapNotFound")
        apiserver.apply(config)
        await hands.shows("changes", "InferenceReady", "False", "WorkspaceInferenceStatusPending")
        after = await hands.stateful_set("changes")
        assert after["metadata"]["generation"] > before["metadata"]["generation"]
        assert "--config-file" in after["spec"]["template"]["spec"]["containers"][0]["args"]
        assert after["metadata"]["annotations"][keys.WORKSPACE_REVISION] == "2"
        assert await hands.told("changes", "WorkloadUpdated")
        await hands.serve("changes")
        await hands.shows("changes", "WorkspaceSucceeded", "True")
        await hands.take_down("changes", claim)


async def test_a_pods_trouble_is_told_within_a_second(apiserver, hands):
    """Given a workload whose image cannot be pulled, then the Workspace says so at once."""
    async with operator(apiserver.kubeconfig):
        await hands.given_workspace("stuck")
        (claim,) = await hands.node_claims("stuck")
        await hands.provision(claim)
        waiting = {
            "name": "stuck",
            "image": "x",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
        }
        status = {"phase": "Pending", "containerStatuses": [waiting]}
        await hands.pod("stuck", node_name=claim["metadata"]["name"], status=status)
        seen = time.monotonic()
        await hands.shows("stuck", "InferenceReady", "False", "ImagePullError")
        assert time.monotonic() - seen < on_this_machine(1.0)
        assert "no such image" in await hands.told("stuck", "ImagePullError")
        await hands.end_pod("stuck")
        await hands.take_down("stuck", claim)
