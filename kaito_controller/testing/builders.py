"""Objects as an API server would hold them, with sensible values; give what matters to the test and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.api.workspace import WORKSPACES
from kaito_controller.kube.metadata import Object

CREATED: Final = "2026-11-22T12:00:00Z"
SELECTOR: Final[Mapping[str, str]] = {"apps": "phi-4-mini"}
INSTANCE_TYPE: Final = "Standard_NC24ads_A100_v4"


def workspace(
    name: str = "demo",
    *,
    namespace: str = "models",
    preset: str = "phi-4-mini-instruct",
    instance_type: str = INSTANCE_TYPE,
    count: int | None = None,
    match_labels: Mapping[str, str] = SELECTOR,
    **fields: Any,
) -> Object:
    """Return a Workspace that serves a preset; `fields` replace top-level fields, ``metadata`` is merged."""
    resource: dict[str, Any] = {"labelSelector": {"matchLabels": dict(match_labels)}}
    if instance_type:
        resource["instanceType"] = instance_type
    if count is not None:
        resource["count"] = count
    meta: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-of-{namespace}-{name}",
        "generation": 1,
        "resourceVersion": "10",
        "creationTimestamp": CREATED,
        **fields.pop("metadata", {}),
    }
    made: Object = {
        "apiVersion": WORKSPACES.api_version,
        "kind": WORKSPACES.kind,
        "metadata": meta,
        "resource": resource,
        "inference": {"preset": {"name": preset}},
    }
    return {**made, **fields}


def tuning_workspace(
    name: str = "demo", *, preset: str = "phi-4-mini-instruct", tuning: Mapping[str, Any] | None = None, **fields: Any
) -> Object:
    """Return a Workspace that tunes a preset, with data from the web; `tuning` is merged into that, None removes."""
    asked = {
        "preset": {"name": preset},
        "method": "lora",
        "input": {"urls": ["https://data.example.com/train.jsonl"]},
        "output": {"image": "registry.example.com/adapters/demo:1", "imagePushSecret": "push"},
        **(tuning or {}),
    }
    made = workspace(name, tuning={key: value for key, value in asked.items() if value is not None}, **fields)
    return {key: value for key, value in made.items() if key != "inference"}


def manifest(name: str, namespace: str, **fields: Any) -> Object:
    """Return a Workspace as a user would write it: without what the API server gives."""
    made = tuning_workspace if "tuning" in fields else workspace
    body = made(name, namespace=namespace, **fields)
    given = {"uid", "generation", "resourceVersion", "creationTimestamp"}
    return {**body, "metadata": {key: value for key, value in body["metadata"].items() if key not in given}}


def node(
    name: str = "node-1",
    *,
    ready: bool = True,
    gpus: int = 1,
    instance_type: str = INSTANCE_TYPE,
    labels: Mapping[str, str] = SELECTOR,
    pressures: Sequence[str] = (),
) -> Object:
    """Return a Node with some GPUs."""
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    conditions += [{"type": pressure, "status": "True"} for pressure in pressures]
    offered = {keys.NVIDIA_GPU: str(gpus), "cpu": "24", "memory": "220Gi"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": f"uid-of-{name}", "labels": {keys.INSTANCE_TYPE: instance_type, **labels}},
        "spec": {},
        "status": {"conditions": conditions, "capacity": offered, "allocatable": offered},
    }


def gpu_labels(*, product: str = "NVIDIA-A100-80GB-PCIe", count: int = 1, memory_mib: int = 81920) -> dict[str, str]:
    """Return the labels that NVIDIA's GPU feature discovery sets."""
    return {
        keys.NVIDIA_GPU_PRODUCT: product,
        keys.NVIDIA_GPU_COUNT: str(count),
        keys.NVIDIA_GPU_MEMORY_MIB: str(memory_mib),
        keys.NVIDIA_COMPUTE_MAJOR: "8",
        keys.NVIDIA_COMPUTE_MINOR: "0",
    }


def node_claim(
    name: str,
    *,
    node_name: str = "",
    stages: Mapping[str, tuple[str, str, str]] | None = None,
    instance_type: str = INSTANCE_TYPE,
    deleting: bool = False,
    created: str = CREATED,
) -> Object:
    """Return a NodeClaim. Without `stages`, ``{condition: (status, reason, message)}``, it is ready with a node."""
    found = stages
    if found is None:
        status = "True" if node_name else "Unknown"
        kinds = ("Launched", "Registered", "Initialized", "Ready")
        found = {kind: (status, kind if node_name else "AwaitingReconciliation", "") for kind in kinds}
    conditions = [
        {"type": kind, "status": status, "reason": reason, "message": message}
        for kind, (status, reason, message) in found.items()
    ]
    meta: dict[str, Any] = {"name": name, "uid": f"uid-of-{name}", "creationTimestamp": created}
    if deleting:
        meta |= {"deletionTimestamp": CREATED, "finalizers": [keys.TERMINATION_FINALIZER]}
    return {
        "apiVersion": NODE_CLAIMS.api_version,
        "kind": NODE_CLAIMS.kind,
        "metadata": meta,
        "spec": {
            "nodeClassRef": {"group": "kaito.sh", "kind": "KaitoNodeClass", "name": "default"},
            "requirements": [{"key": keys.INSTANCE_TYPE, "operator": "In", "values": [instance_type]}],
        },
        "status": {"nodeName": node_name, "conditions": conditions},
    }


def pod(
    name: str = "demo-0",
    *,
    ready: bool = False,
    node_name: str = "node-1",
    containers: Sequence[Mapping[str, Any]] = (),
    status: Mapping[str, Any] | None = None,
    owner: Object | None = None,
) -> Object:
    """Return a pod of a Workspace, or of an `owner`; `containers` are container statuses, `status` more beside."""
    workspace_name = name.rpartition("-")[0]
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    meta: dict[str, Any] = {
        "name": name,
        "namespace": "models",
        "uid": f"uid-of-{name}",
        "labels": {keys.WORKSPACE_NAME: workspace_name},
    }
    if owner is not None:
        meta["ownerReferences"] = [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"].get("uid", ""),
                "controller": True,
            }
        ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"nodeName": node_name},
        "status": {"conditions": conditions, "containerStatuses": list(containers), **(status or {})},
    }
