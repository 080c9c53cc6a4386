"""What kubectl alone, with no option of ours, shows a user of the cluster."""

from __future__ import annotations

import pytest
from local_cluster.user_session import UserSession

pytestmark = pytest.mark.slow

V1BETA1_COLUMNS = [
    "NAME", "INSTANCE", "RESOURCEREADY", "INFERENCEREADY", "JOBSTARTED", "WORKSPACESUCCEEDED", "TARGETNODECOUNT",
    "STATE", "AGE",
]  # fmt: skip
V1ALPHA1_COLUMNS = ["NAME", "INSTANCE", "RESOURCEREADY", "INFERENCEREADY", "WORKSPACEREADY", "AGE"]


def test_columns_of_both_versions(quickstart: UserSession) -> None:
    """`kubectl get workspace` prints v1beta1's columns, `workspaces.v1alpha1.kaito.sh` those of the tutorials."""
    beta = quickstart.kubectl.run("get", "workspace").splitlines()
    alpha = quickstart.kubectl.run("get", "workspaces.v1alpha1.kaito.sh").splitlines()
    assert beta[0].split() == V1BETA1_COLUMNS
    assert alpha[0].split() == V1ALPHA1_COLUMNS
    assert alpha[1].split()[:5] == ["workspace-tiny-phi3", "Standard_NC6s_v3", "True", "True", "True"]


def test_explain_reads_well(quickstart: UserSession) -> None:
    """`kubectl explain workspace.inference` describes the field and each field below it."""
    text = quickstart.kubectl.run("explain", "workspace.inference")
    assert "DESCRIPTION" in text
    assert "<empty>" not in text
    for field in ("adapters", "config", "preset", "template"):
        assert field in text


def test_describe_tells_the_story_in_events(quickstart: UserSession) -> None:
    """`kubectl describe workspace` lists what the operator did, in order, as events."""
    text = quickstart.kubectl.run("describe", "workspace", "workspace-tiny-phi3")
    events = text[text.index("Events:") :]
    told = [line.split()[1] for line in events.splitlines()[3:]]
    story = ("NodeClaimCreated", "WorkloadCreated", "WorkspaceReady")
    assert [reason for reason in told if reason in story] == list(story)


def test_the_operator_may_not_read_secrets(quickstart: UserSession) -> None:
    """The ServiceAccount the operator runs as holds config/rbac and nothing more."""
    who = "system:serviceaccount:kaito-system:kaito-controller"
    kubectl = f"{quickstart.summary['kubectl']} --kubeconfig {quickstart.summary['kubeconfig']}"
    assert quickstart.shell(f"{kubectl} auth can-i get secrets -A --as {who}").stdout.strip() == "no"
    assert quickstart.kubectl.run("auth", "can-i", "create", "nodeclaims", "--as", who).strip() == "yes"


def test_the_serving_pod_is_not_root(quickstart: UserSession) -> None:
    """The engine's process runs under an ordinary user without privileges."""
    spec = quickstart.kubectl.get("pod", "workspace-tiny-phi3-0")["spec"]
    user = quickstart.kubectl.run("exec", "workspace-tiny-phi3-0", "--", "/usr/bin/id", "-u").strip()
    assert user != "0"
    assert spec["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False


def test_the_gpu_is_said_to_be_emulated(quickstart: UserSession) -> None:
    """The node of the claim carries the SKU's GPU count and a label that says that the GPU is not there."""
    name = quickstart.kubectl.get("nodeclaim")["items"][0]["status"]["nodeName"]
    node = quickstart.kubectl.get("node", name)
    assert node["metadata"]["labels"]["kaito.sh/emulated-gpu"] == "true"
    assert node["metadata"]["labels"]["node.kubernetes.io/instance-type"] == "Standard_NC6s_v3"
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "1"
