"""Simulated nodes: Node objects that kwok plays."""

from __future__ import annotations

import json
from typing import Any

from kaito_controller.testing.control_plane import SIMULATED
from local_cluster.kubectl import Kubectl


def ensure(kubectl: Kubectl, count: int, *, beside_real_nodes: bool) -> None:
    """Make the simulated nodes 1 to `count` that are not there, and wait until all are ready."""
    if not count:
        return
    names = [f"simulated-{number}" for number in range(1, count + 1)]
    nodes = [node(name, tainted=beside_real_nodes) for name in names]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes})
    kubectl.run("apply", "--server-side", "-f", "-", stdin=listed)
    kubectl.run("wait", "node", *names, "--for=condition=Ready", "--timeout=60s")


def node(name: str, *, tainted: bool) -> dict[str, Any]:
    """Return a Node for kwok; tainted, it gets no pod that does not ask for simulated nodes (the DNS server's, say)."""
    platform = {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    labels = {"kubernetes.io/hostname": name, "type": "kwok", **platform}
    taints = [{"key": SIMULATED, "value": "fake", "effect": "NoSchedule"}] if tainted else []
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {SIMULATED: "fake"}},
        "spec": {"taints": taints} if taints else {},
    }
