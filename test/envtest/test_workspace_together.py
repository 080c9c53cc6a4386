"""Both controllers in one operator process, under the generated rights, with simulated nodes that kwok keeps alive.

Nothing is played here: StatefulSet controller, scheduler and garbage collector are Kubernetes' own, the nodes kwok's.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.api.workspace import WORKSPACES
from kaito_controller.kube.core import NODES, SERVICES, STATEFUL_SETS
from kaito_controller.testing.scenario import stage

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "kaito-system"
NOWHERE = ("--metrics-bind-address", "0", "--health-probe-bind-address", "0")


@pytest.fixture
def kubeconfig(cluster, tmp_path):
    """Return a kubeconfig of the operator's ServiceAccount, bound to config/rbac and to nothing else."""
    cluster.kubectl("apply", "--server-side", "-k", str(ROOT / "config" / "rbac"))
    token = cluster.kubectl("create", "token", "kaito-controller", "--namespace", SYSTEM).strip()
    view = json.loads(cluster.kubectl("config", "view", "--raw", "--flatten", "--minify", "--output=json"))
    view["users"] = [{"name": "operator", "user": {"token": token}}]
    view["contexts"] = [{"name": "operator", "context": {"cluster": view["clusters"][0]["name"], "user": "operator"}}]
    view["current-context"] = "operator"
    path = tmp_path / "operator.kubeconfig"
    path.write_text(json.dumps(view))
    return path


@contextmanager
def started(kubeconfig, *flags, log):
    """Start the operator as a process of its own, and kill it if it is still there at the end."""
    command = [sys.executable, "-m", "kaito_controller", "run", "--kubeconfig", str(kubeconfig), *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("w") as output, subprocess.Popen(command, env=environment, stderr=output) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def running(kubeconfig, tmp_path):
    """Run the operator with simulated nodes, end it with SIGTERM, and find no refusal in its log."""
    log = tmp_path / "operator.log"
    flags = ("--provider", "kwok", "--leader-elect", "--leader-election-namespace", SYSTEM)
    with started(kubeconfig, *flags, *NOWHERE, log=log) as process:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert "forbidden" not in log.read_text().lower()


async def test_apply_to_ready_and_away(cluster, cluster_namespace, running):
    """Given a Workspace, then nodes, pods and Services come and it is READY; deleted, everything of it is gone."""
    async with stage(cluster.kubeconfig, cluster_namespace) as hands:
        await hands.given_workspace("whole", preset="falcon-40b-instruct", instance_type="Standard_NC24ads_A100_v4")
        served = await hands.shows("whole", "WorkspaceSucceeded", "True", patience_s=90.0)
        status = served["status"]
        assert status["state"] == "Ready"
        assert len(status["workerNodes"]) == status["targetNodeCount"]
        claims = await hands.node_claims("whole", status["targetNodeCount"])
        for reason in ("NodeClaimCreated", "NodesReady", "WorkloadCreated", "WorkspaceReady"):
            assert await hands.told("whole", reason)
        described = cluster.kubectl("describe", "workspace", "whole", "--namespace", cluster_namespace)
        assert "NodeClaimCreated" in described
        await hands.client.delete(WORKSPACES, "whole", cluster_namespace)
        await hands.gone(WORKSPACES, "whole", cluster_namespace)
        for claim in claims:
            await hands.gone(NODE_CLAIMS, claim["metadata"]["name"])
        for node in status["workerNodes"]:
            await hands.gone(NODES, node)
        await hands.gone(STATEFUL_SETS, "whole", cluster_namespace)
        await hands.gone(SERVICES, "whole", cluster_namespace)


def test_a_taken_port_is_one_line(kubeconfig, tmp_path):
    """Given a port that is taken, then the operator exits 1 and says which flag to change."""
    log = tmp_path / "taken.log"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with started(kubeconfig, "--health-probe-bind-address", address, log=log) as process:
            assert process.wait(60) == 1
    assert f"--health-probe-bind-address: cannot listen on {address}" in the_line_of(log)


def test_credentials_that_do_not_count_are_one_line(kubeconfig, tmp_path):
    """Given a wrong token, then the operator exits 1 and says so."""
    view = json.loads(kubeconfig.read_text())
    view["users"] = [{"name": "operator", "user": {"token": "wrong"}}]
    wrong = tmp_path / "wrong.kubeconfig"
    wrong.write_text(json.dumps(view))
    log = tmp_path / "wrong.log"
    with started(wrong, *NOWHERE, log=log) as process:
        assert process.wait(60) == 1
    assert "the API server does not accept the credentials (401)" in the_line_of(log)


def the_line_of(log):
    """Return the one line that the operator has for its user."""
    (line,) = (line for line in log.read_text().splitlines() if line.startswith("kaito-controller: "))
    return line
