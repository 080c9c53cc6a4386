"""The NodeClaims of a Workspace: what it asks of whatever provisions nodes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NEVER, NODE_CLAIMS
from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.model import SKU
from kaito_controller.kube import quantity
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.selectors import EXISTS, IN

NAME_PREFIX: Final = "ws"
NAME_DIGITS: Final = 9

# Upstream's class, which nothing resolves: it says whose NodeClaim it is. Upstream gives every class this name.
NODE_CLASS_GROUP: Final = "kaito.sh"
NODE_CLASS_KIND: Final = "KaitoNodeClass"
NODE_CLASS_NAME: Final = "default"
DEFAULT_IMAGE_FAMILY: Final = "ubuntu"
# What upstream asks for where the size of a model is unknown.
DEFAULT_STORAGE_BYTES: Final = 1024 * 1024**3


def claim_name(workspace: Workspace, index: int) -> str:
    """`ws` and 9 hex digits, the same for the same Workspace (by UID) and index: two of it cannot exist.

    Eleven characters, because an agent pool of Azure allows no more than twelve.
    """
    meta = workspace.metadata
    identity = f"{meta.namespace}/{meta.name}/{meta.uid}/{index}"
    return NAME_PREFIX + hashlib.sha256(identity.encode()).hexdigest()[:NAME_DIGITS]


def node_labels(workspace: Workspace) -> dict[str, str]:
    """Labels of the nodes made for a Workspace, on which its pods insist: its name and namespace."""
    return {
        keys.WORKSPACE_NAME: workspace.metadata.name,
        keys.WORKSPACE_NAMESPACE: workspace.metadata.namespace,
    }


def node_claim(
    workspace: Workspace,
    index: int,
    *,
    sku: SKU,
    node_class_group: str = NODE_CLASS_GROUP,
    node_class_kind: str = NODE_CLASS_KIND,
    storage_bytes: int = DEFAULT_STORAGE_BYTES,
    image_family: str = DEFAULT_IMAGE_FAMILY,
) -> Object:
    """The NodeClaim for one node of the Workspace.

    It asks for the instance type's GPUs, so that whoever provisions it waits until the node shows them. It has no owner
    (a cluster-scoped object cannot be owned by a namespaced one) and never expires by age.
    """
    chosen = workspace.metadata.annotations.get(keys.NODE_IMAGE_FAMILY, "").strip().lower()
    return {
        "apiVersion": NODE_CLAIMS.api_version,
        "kind": NODE_CLAIMS.kind,
        "metadata": {
            "name": claim_name(workspace, index),
            "labels": _labels(workspace),
            "annotations": {
                keys.DO_NOT_DISRUPT: "true",
                keys.NODE_IMAGE_FAMILY: chosen or image_family,
            },
        },
        "spec": {
            "nodeClassRef": {"group": node_class_group, "kind": node_class_kind, "name": NODE_CLASS_NAME},
            "requirements": _requirements(sku),
            "resources": {
                "requests": {sku.resource: str(sku.gpu_count), "storage": quantity.format_bytes(storage_bytes)}
            },
            "taints": [{"key": keys.TAINT_SKU, "value": keys.TAINT_SKU_GPU, "effect": "NoSchedule"}],
            "expireAfter": NEVER,
        },
    }


def _labels(workspace: Workspace) -> dict[str, str]:
    return {
        **_selector_labels(workspace),
        keys.NODEPOOL: keys.NODEPOOL_KAITO,
        keys.WORKSPACE_UID: workspace.metadata.uid,
        keys.MANAGED_BY: keys.MANAGED_BY_VALUE,
        **node_labels(workspace),
    }


def _selector_labels(workspace: Workspace) -> Mapping[str, str]:
    """Labels that make a new node match the Workspace's own selector; reserved keys are not taken from the user."""
    found: dict[str, str] = {}
    for requirement in reversed(workspace.resource.label_selector.requirements()):
        if requirement.key in keys.RESERVED_SELECTOR_KEYS:
            continue
        if requirement.operator == IN:
            found[requirement.key] = requirement.values[0]
        elif requirement.operator == EXISTS:
            found.setdefault(requirement.key, "")
    return found


def _requirements(sku: SKU) -> list[dict[str, Any]]:
    requirements: list[dict[str, Any]] = [
        {"key": keys.NODEPOOL, "operator": "In", "values": [keys.NODEPOOL_KAITO]},
        {"key": keys.INSTANCE_TYPE, "operator": "In", "values": [sku.name]},
        {"key": keys.OPERATING_SYSTEM, "operator": "In", "values": ["linux"]},
    ]
    if sku.cloud == "azure":
        requirements.append({"key": keys.AZURE_SKU_NAME, "operator": "In", "values": [sku.name]})
    if sku.cloud == "aws":
        requirements.append({"key": keys.AWS_GPU_COUNT, "operator": "Gt", "values": ["0"]})
    return requirements
