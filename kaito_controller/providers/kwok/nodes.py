"""What a simulated machine looks like as a Node, and how to read it back. Pure.

The Node is the only record of the machine. It carries the UID of its claim, which makes creation idempotent, and a mark
once the machine was ended, because the Node itself may outlive it while finalizers hold it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NodeClaim
from kaito_controller.catalog.hardware import SKU
from kaito_controller.kube import metadata
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.serde import unstructure
from kaito_controller.kube.timestamps import parse_timestamp
from kaito_controller.providers.protocol import Instance

FAKE_NODE: Final = "kwok.x-k8s.io/node"
CLAIM_LABEL: Final = "kwok.kaito.sh/nodeclaim"
UID_ANNOTATION: Final = "kwok.kaito.sh/nodeclaim-uid"
ENDED_ANNOTATION: Final = "kwok.kaito.sh/ended"
IMAGE_ID: Final = "kwok"
SCHEME: Final = "kwok://"

# The catalogue knows GPUs, not processors: a simulated machine gets what such machines have about, per GPU.
CPU_PER_GPU: Final = 8
MEMORY_GIB_PER_GPU: Final = 64
DISK: Final = "1Ti"
PODS: Final = "110"


def provider_id(claim: NodeClaim) -> str:
    """``kwok://<claim>/<uid>``: a claim made again under the same name gets another machine."""
    return f"{SCHEME}{claim.metadata.name}/{claim.metadata.uid}"


def node_name(provider_id: str) -> str:
    """The Node's name in a provider ID; empty when it is none of ours."""
    return provider_id.removeprefix(SCHEME).partition("/")[0] if provider_id.startswith(SCHEME) else ""


def capacity(sku: SKU) -> Mapping[str, str]:
    """What the machine has, as quantities."""
    return {
        "cpu": str(CPU_PER_GPU * sku.gpu_count),
        "memory": f"{MEMORY_GIB_PER_GPU * sku.gpu_count}Gi",
        "ephemeral-storage": DISK,
        "pods": PODS,
        sku.resource: str(sku.gpu_count),
    }


def node(claim: NodeClaim, sku: SKU) -> Object:
    """The Node as its kubelet would register it, not ready yet."""
    taints = [unstructure(taint) for taint in (*claim.spec.taints, *claim.spec.startup_taints)]
    size = capacity(sku)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": claim.metadata.name,
            "labels": dict(_labels(claim, sku)),
            "annotations": {FAKE_NODE: "fake", UID_ANNOTATION: claim.metadata.uid},
        },
        "spec": {
            "providerID": provider_id(claim),
            "taints": [*taints, {"key": keys.TAINT_UNREGISTERED, "effect": "NoExecute"}],
        },
        "status": {"capacity": dict(size), "allocatable": dict(size)},
    }


def instance(node: Object) -> Instance:
    """The machine that the Node stands for."""
    spec: Mapping[str, Any] = node.get("spec") or {}
    status: Mapping[str, Any] = node.get("status") or {}
    labels = metadata.labels(node)
    created = metadata.creation_timestamp(node)
    return Instance(
        provider_id=str(spec.get("providerID") or ""),
        name=metadata.name(node),
        node_name=metadata.name(node),
        claim_uid=metadata.annotations(node).get(UID_ANNOTATION, ""),
        claim_name=labels.get(CLAIM_LABEL, ""),
        labels={key: labels[key] for key in _TOLD if key in labels},
        capacity=dict(status.get("capacity") or {}),
        allocatable=dict(status.get("allocatable") or {}),
        image_id=IMAGE_ID,
        created_at=parse_timestamp(created) if created else None,
    )


def has_ended(node: Object) -> bool:
    """Whether the machine was ended, even if something still holds its Node."""
    return ENDED_ANNOTATION in metadata.annotations(node)


_TOLD = (keys.INSTANCE_TYPE, keys.ARCHITECTURE, keys.OPERATING_SYSTEM, keys.CAPACITY_TYPE)


def _labels(claim: NodeClaim, sku: SKU) -> Mapping[str, str]:
    required = {
        requirement.key: requirement.values[0]
        for requirement in claim.spec.requirements
        if requirement.operator == "In" and len(requirement.values) == 1
    }
    return {
        **required,
        **claim.metadata.labels,
        keys.INSTANCE_TYPE: sku.name,
        keys.OPERATING_SYSTEM: "linux",
        keys.ARCHITECTURE: "amd64",
        keys.HOSTNAME: claim.metadata.name,
        keys.CAPACITY_TYPE: "on-demand",
        keys.EMULATED_GPU: "true",
        CLAIM_LABEL: claim.metadata.name,
    }
