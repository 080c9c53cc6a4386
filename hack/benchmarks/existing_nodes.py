"""Workspaces on existing nodes, so that no cloud is measured: kwok nodes with GPUs, a hundred Workspaces to each."""

from __future__ import annotations

import json
from typing import Any

from local_cluster.kubectl import Kubectl

from benchmarks.timeline import Seen

PODS_PER_NODE = 100
LABEL = "bench/group"
CHUNK = 3000
"""Objects that one kubectl is given: it holds all of them in memory."""
INFERENCE_READY = '{.status.conditions[?(@.type=="InferenceReady")].status}'


def is_ready(seen: Seen) -> bool:
    """Whether a line of a watch with the column `INFERENCE_READY` says so."""
    return seen.columns == ("True",)


def group(number: int) -> str:
    """The node, by its label, of the Workspace with that number."""
    return f"group-{number // PODS_PER_NODE}"


def workspace(name: str, number: int) -> dict[str, Any]:
    """The Workspace with that number."""
    return {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "Workspace",
        "metadata": {"name": name, "namespace": "default"},
        "resource": {"labelSelector": {"matchLabels": {LABEL: group(number)}}},
        "inference": {"preset": {"name": "phi-4-mini-instruct"}},
    }


def make_nodes(kubectl: Kubectl, count: int) -> None:
    """One kwok node for every hundred Workspaces, which says that it has an A100 and lends it to all of them."""
    offered = {"nvidia.com/gpu": str(PODS_PER_NODE * 3), "cpu": "10000", "memory": "100Ti", "pods": "1000"}
    offered["ephemeral-storage"] = "1000Ti"
    create(kubectl, [_node(group(number), offered) for number in range(0, count, PODS_PER_NODE)])
    kubectl.run("wait", "--for=condition=Ready", "node", "--all", "--timeout=120s")


def create(kubectl: Kubectl, objects: list[dict[str, Any]]) -> None:
    """Create all of them, in their order."""
    for start in range(0, len(objects), CHUNK):
        kubectl.run("create", "-f", "-", stdin=listed(objects[start : start + CHUNK]))


def listed(objects: list[dict[str, Any]]) -> str:
    """The objects as one document for kubectl."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def _node(name: str, offered: dict[str, str]) -> dict[str, Any]:
    labels = {
        LABEL: name,
        "kubernetes.io/hostname": name,
        "nvidia.com/gpu.product": "NVIDIA-A100-80GB-PCIe",
        "nvidia.com/gpu.count": "1",
        "nvidia.com/gpu.memory": "81920",
        "nvidia.com/cuda.compute.major": "8",
        "nvidia.com/cuda.compute.minor": "0",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "status": {"capacity": offered, "allocatable": offered},
    }
