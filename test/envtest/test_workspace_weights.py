"""Where a Workspace's weights come from, and how far they are, against a real API server.

The test plays the StatefulSet controller, the kubelet and the agent, whose answers are handed to the operator's reader
behind the request, as in test_workspace_adapters.
"""

from __future__ import annotations

import pytest

from inference_server import contract
from kaito_controller.api import labels as keys
from kaito_controller.api.workspace import WORKSPACES
from kaito_controller.kube.core import PODS
from kaito_controller.testing.scenario import message_of, operator

URI = "oci://registry.example/models/phi:4"
PRESET = {"name": "phi-4-mini-instruct", "presetOptions": {"imagePullSecrets": ["registry"]}}


async def test_weights_of_a_registry_from_apply_to_served(apiserver, hands, agent):
    """Progress while the pod is still Pending, as its engine's image comes; what cannot be had in the agent's words."""
    async with operator(apiserver.kubeconfig):
        await hands.given_workspace("far", metadata={"annotations": {keys.WEIGHTS: URI}}, inference={"preset": PRESET})
        (claim,) = await hands.node_claims("far")
        node = await hands.provision(claim)
        workload = await hands.stateful_set("far")
        (container,) = workload["spec"]["template"]["spec"]["initContainers"]
        assert container["args"] == ["--weights", URI, "--pull-secret", "registry"]
        state = {"state": {"running": {}}, "ready": True, "restartCount": 0, "image": "i", "imageID": ""}
        status = {"phase": "Pending", "initContainerStatuses": [{"name": contract.AGENT_CONTAINER, **state}]}
        await hands.pod("far", node_name=node["metadata"]["name"], status=status)
        path = f"{PODS.path(hands.namespace, 'far-0')}:{contract.AGENT_PORT}/proxy{contract.REPORT_PATH}"

        denied = "registry.example/models/phi:4: it does not let it be read; give a Secret"
        agent[path] = {"weights": {"state": "Failed", "source": URI, "message": denied, "exitCode": 66}}
        shown = await hands.shows("far", "InferenceReady", "False", "WeightsFailed")
        assert denied in message_of(shown, "InferenceReady")

        agent[path] = {"weights": {"state": "Fetching", "source": URI, "bytesDone": 2 * 10**9, "bytesTotal": 8 * 10**9}}
        shown = await hands.shows("far", "InferenceReady", "False", "WeightsFetching")
        assert "2.0 GB of 8.0 GB" in message_of(shown, "InferenceReady")
        assert shown["status"]["weights"]["bytesTotal"] == 8 * 10**9

        agent[path] = {"weights": {"state": "Ready", "source": URI, "revision": "sha256:1", "folder": "/w"}}
        await hands.shows("far", "InferenceReady", "False", "WorkspaceInferenceStatusPending")
        await hands.serve("far")
        shown = await hands.shows("far", "InferenceReady", "True")
        assert shown["status"]["weights"]["state"] == "Ready"
        await hands.shows("far", "SpecHonored", "True")
        await hands.client.delete(WORKSPACES, "far", hands.namespace)
        await hands.end_pod("far")
        await hands.node_claims("far", 0)
        await hands.release(claim)
        await hands.gone(WORKSPACES, "far", hands.namespace)


@pytest.mark.parametrize(
    ("uri", "reason", "part"),
    [
        ("node:///etc", "InvalidSpec", "only those below /opt/kaito/models are read"),
        ("../model", "InvalidSpec", "must be one of hf://"),
    ],
)
async def test_places_that_cannot_be_used_are_told_and_their_correction_goes_on(  # noqa: PLR0917 (fixtures)
    apiserver, hands, agent, uri: str, reason: str, part: str
):
    """No node is made for them; an object may be older than the admission policy."""
    async with operator(apiserver.kubeconfig):
        await hands.given_workspace("odd", metadata={"annotations": {keys.WEIGHTS: uri}}, inference={"preset": PRESET})
        shown = await hands.shows("odd", "ResourceReady", "False", reason)
        assert part in message_of(shown, "ResourceReady")
        await hands.change_workspace("odd", {"metadata": {"annotations": {keys.WEIGHTS: "pvc://models"}}})
        await hands.shows("odd", "NodeClaimReady", "False")
        await hands.take_down("odd")
