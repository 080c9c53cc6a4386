"""What the API server refuses the operator: told on the Workspace with the server's own words, and tried again."""

from __future__ import annotations

from inference_server import contract
from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.api.workspace import WORKSPACES
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource
from kaito_controller.testing.builders import gpu_labels
from kaito_controller.testing.provisioner import until
from kaito_controller.testing.scenario import message_of, operator, stage

RESOURCE_QUOTAS = Resource(group="", version="v1", kind="ResourceQuota", plural="resourcequotas", namespaced=True)
POLICIES = Resource(
    group="admissionregistration.k8s.io",
    version="v1",
    kind="ValidatingAdmissionPolicy",
    plural="validatingadmissionpolicies",
    namespaced=False,
)
BINDINGS = Resource(
    group="admissionregistration.k8s.io",
    version="v1",
    kind="ValidatingAdmissionPolicyBinding",
    plural="validatingadmissionpolicybindings",
    namespaced=False,
)


def refusing(namespace: str) -> tuple[Object, Object]:
    """Return a policy that refuses NodeClaims for the Workspaces of a namespace, and its binding."""
    rules = [
        {
            "apiGroups": [NODE_CLAIMS.group],
            "apiVersions": ["*"],
            "operations": ["CREATE"],
            "resources": [NODE_CLAIMS.plural],
        }
    ]
    label = f"'{keys.WORKSPACE_NAMESPACE}' in object.metadata.labels"
    expression = f"!({label} && object.metadata.labels['{keys.WORKSPACE_NAMESPACE}'] == '{namespace}')"
    policy = {
        "apiVersion": POLICIES.api_version,
        "kind": POLICIES.kind,
        "metadata": {"name": f"no-machines-for-{namespace}"},
        "spec": {
            "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": expression, "message": "the budget is spent"}],
        },
    }
    binding = {
        "apiVersion": BINDINGS.api_version,
        "kind": BINDINGS.kind,
        "metadata": {"name": f"no-machines-for-{namespace}"},
        "spec": {"policyName": f"no-machines-for-{namespace}", "validationActions": ["Deny"]},
    }
    return policy, binding


async def test_a_refused_node_claim_is_told_and_tried_again(apiserver, hands):
    """Given a policy against NodeClaims, then the Workspace shows its words; without it, the claim is made."""
    name = f"no-machines-for-{hands.namespace}"
    for resource, body in zip((POLICIES, BINDINGS), refusing(hands.namespace), strict=True):
        await hands.client.create(resource, body)

    async def refused() -> bool:
        claim = {
            "metadata": {"name": "probe", "labels": {keys.WORKSPACE_NAMESPACE: hands.namespace}},
            "spec": {"nodeClassRef": {"group": "a.b", "kind": "C", "name": "d"}, "requirements": []},
        }
        try:
            await hands.client.create(
                NODE_CLAIMS, {"apiVersion": NODE_CLAIMS.api_version, "kind": "NodeClaim", **claim}
            )
        except Exception as error:  # noqa: BLE001 - the refusal is what is waited for
            return "the budget is spent" in str(error)
        await hands.remove(NODE_CLAIMS, "probe")
        return False

    await until("the policy is in force", refused)
    async with operator(apiserver.kubeconfig):
        await hands.given_workspace("poor")
        told = await hands.shows("poor", "NodeClaimReady", "False", "NodeClaimCreationFailed")
        assert "the budget is spent" in message_of(told, "NodeClaimReady")
        assert "the budget is spent" in await hands.told("poor", "NodeClaimCreationFailed")
        await hands.remove(BINDINGS, name)
        await hands.remove(POLICIES, name)
        await hands.node_claims("poor", 1)
        await hands.client.delete(WORKSPACES, "poor", hands.namespace)
        await hands.gone(WORKSPACES, "poor", hands.namespace)


async def test_a_refused_workload_is_told_and_tried_again(apiserver, hands):
    """Given a quota of no StatefulSets, then the Workspace shows it; with room, the workload is made."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": hands.namespace},
        "spec": {"hard": {"count/statefulsets.apps": "0"}},
    }
    await hands.client.create(RESOURCE_QUOTAS, quota)
    status = {"hard": quota["spec"]["hard"], "used": {"count/statefulsets.apps": "0"}}
    await hands.client.merge_patch(RESOURCE_QUOTAS, "none", hands.namespace, {"status": status}, subresource="status")
    selector = {"pool": f"refused-{hands.namespace}"}
    size = {keys.NVIDIA_GPU: "1", "cpu": "8", "memory": "64Gi", "pods": "110"}
    await hands.join(f"refused-{hands.namespace}", labels={**selector, **gpu_labels()}, size=size)
    async with operator(apiserver.kubeconfig):
        await hands.given_workspace("full", instance_type="", match_labels=selector)
        told = await hands.shows("full", "InferenceReady", "False", "WorkloadRefused")
        assert "exceeded quota" in message_of(told, "InferenceReady")
        await hands.remove(RESOURCE_QUOTAS, "none", hands.namespace)
        await hands.stateful_set("full")
        await hands.shows("full", "InferenceReady", "False", "WorkspaceInferenceStatusPending")
        await hands.client.delete(WORKSPACES, "full", hands.namespace)
        await hands.gone(WORKSPACES, "full", hands.namespace)


async def test_the_local_runtime_settles_too(apiserver, hands):
    """Given the runtime with the most fields of its own, then a restarted operator finds nothing to write."""
    parameters = {
        "interpreter": "/opt/python",
        "environment": "/opt/env",
        "source": "/opt/src",
        "models": "/opt/models",
    }
    flags = {"runtime": "vllm-cpu-host", "runtime_parameters": parameters}
    async with operator(apiserver.kubeconfig, **flags) as running:
        await hands.given_workspace("local", preset="tiny-phi3", instance_type="Standard_NC6s_v3")
        (claim,) = await hands.node_claims("local")
        await hands.provision(claim)
        await hands.serve("local")
        await hands.shows("local", "WorkspaceSucceeded", "True")
        await running.settled()
    async with operator(apiserver.kubeconfig, **flags) as restarted:
        assert await restarted.settled() == 0
        await hands.client.delete(WORKSPACES, "local", hands.namespace)
        await hands.node_claims("local", 0)
        await hands.release(claim)
        await hands.gone(WORKSPACES, "local", hands.namespace)


async def test_the_annotation_chooses_the_engine(apiserver, hands):
    """Given a Workspace that asks for transformers, then its pods run that; an engine nobody has is told, and cured."""
    engine = {keys.RUNTIME: "transformers"}
    async with operator(apiserver.kubeconfig):
        await hands.given_workspace("other", metadata={"annotations": engine})
        (claim,) = await hands.node_claims("other")
        await hands.provision(claim)
        made = await hands.stateful_set("other")
        (container,) = made["spec"]["template"]["spec"]["containers"]
        assert container["command"] == ["python3", "-m", contract.SERVE_TRANSFORMERS_MODULE]
        await hands.serve("other")
        await hands.shows("other", "WorkspaceSucceeded", "True")
        await hands.given_workspace("unknown", metadata={"annotations": {keys.RUNTIME: "llama.cpp"}})
        await hands.shows("unknown", "InferenceReady", "False", "RuntimeUnsupported")
        told = await hands.workspace("unknown")
        assert "must be one of transformers, vllm, found 'llama.cpp'" in message_of(told, "InferenceReady")
        await hands.node_claims("unknown", 0)
        await hands.take_down("other", claim)
        await hands.take_down("unknown")


async def test_an_api_server_that_restarts_is_outlived(own_apiserver):
    """Given an operator, when the API server is killed and comes back, then a Workspace made meanwhile is served."""
    namespace = own_apiserver.create_namespace("outlived")
    async with operator(own_apiserver.kubeconfig) as running:
        await running.settled()
        own_apiserver.restart_apiserver(kill=True)
        async with stage(own_apiserver.kubeconfig, namespace) as hands:
            await hands.given_workspace("after")
            (claim,) = await hands.node_claims("after")
            await hands.provision(claim)
            await hands.serve("after")
            await hands.shows("after", "WorkspaceSucceeded", "True", patience_s=60.0)
