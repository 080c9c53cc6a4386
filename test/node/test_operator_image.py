"""The operator as a cluster gets it: its image, made here and loaded into the nodes, run by config/default."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kaito_controller.testing.eventually import eventually
from kaito_controller.testing.real_cluster import REPOSITORY, RealCluster, hack_cluster

NAMESPACE = "kaito-system"
DEPLOYMENT = "deployment/kaito-controller"
SAMPLE = REPOSITORY / "config" / "samples" / "workspace_unknown_preset.yaml"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The controller's image of this checkout."""
    archive = tmp_path_factory.mktemp("images") / "kaito-controller.tar"
    command = [REPOSITORY / "hack" / "images", "build", "controller", "--output", archive]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return archive


@pytest.fixture(scope="module")
def operator(cluster: RealCluster, archive: Path) -> Iterator[RealCluster]:
    """The cluster with config/default applied as it is, and the image on its nodes; the Deployment goes at the end."""
    state = cluster.folder.parent.parent
    hack_cluster(state, "load", str(archive), "--name", cluster.folder.name)
    cluster.kubectl("apply", "--server-side", "-f", str(REPOSITORY / "config" / "crd" / "karpenter.sh_nodeclaims.yaml"))
    cluster.kubectl("apply", "--server-side", "-k", str(REPOSITORY / "config" / "default"))
    yield cluster
    cluster.kubectl("delete", DEPLOYMENT, "--namespace", NAMESPACE, "--wait=true")


def pods(cluster: RealCluster) -> list[dict[str, Any]]:
    return list(cluster.get("pods", "--namespace", NAMESPACE).get("items", []))


def test_the_operator_becomes_ready_from_its_image_under_restricted_pod_security(operator: RealCluster):
    """The namespace admits the pod, the kubelet finds the image and pulls nothing, and both probes succeed."""
    namespace = operator.get("namespace", NAMESPACE)
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    operator.kubectl("rollout", "status", DEPLOYMENT, "--namespace", NAMESPACE, "--timeout=300s")
    (pod,) = pods(operator)
    (status,) = pod["status"]["containerStatuses"]
    assert (status["ready"], status["restartCount"]) == (True, 0)
    assert status["image"].endswith("/kaito-controller:0.1.0")
    user = "import os; print(os.getuid(), os.access('/opt/kaito', os.W_OK))"
    python = ("/opt/kaito/bin/python3", "-c", user)
    said = operator.kubectl("exec", DEPLOYMENT, "--namespace", NAMESPACE, "--", *python)
    assert said.split() == ["65532", "False"]


def test_it_leads_and_says_what_is_wrong_with_a_workspace(operator: RealCluster):
    """With the rights of config/rbac alone it takes the lease and tells what a Workspace cannot be served for."""

    def holder() -> str:
        lease = operator.get("leases", "--namespace", NAMESPACE).get("items", [])
        return str(lease[0]["spec"].get("holderIdentity", "")) if lease else ""

    eventually("somebody leads", lambda: bool(holder()), timeout_s=60)
    assert pods(operator)[0]["metadata"]["name"] in holder()
    operator.kubectl("apply", "-f", str(SAMPLE))
    try:
        operator.kubectl("wait", "-f", str(SAMPLE), "--for=condition=ResourceReady=false", "--timeout=30s")
        conditions = json.loads(operator.kubectl("get", "-f", str(SAMPLE), "-o", "json"))["status"]["conditions"]
        (message,) = (condition["message"] for condition in conditions if condition["type"] == "ResourceReady")
        assert "tiny-phi-3" in message
    finally:
        operator.kubectl("delete", "-f", str(SAMPLE), "--wait=true", "--timeout=60s")
