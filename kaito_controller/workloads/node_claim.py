"""The NodeClaims of a Workspace: what it asks of whatever provisions nodes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NEVER, NODE_CLAIMS
from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.hardware import SKU
from kaito_controller.kube import quantity
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.selectors import EXISTS, IN, LabelExpression

NAME_PREFIX: Final = "ws"
NAME_DIGITS: Final = 9

# Upstream's class, which nothing resolves: it says whose NodeClaim it is. Upstream gives every class this name.
NODE_CLASS_GROUP: Final = "kaito.sh"
NODE_CLASS_KIND: Final = "KaitoNodeClass"
NODE_CLASS_NAME: Final = "default"
DEFAULT_IMAGE_FAMILY: Final = "ubuntu"
OPERATING_SYSTEM: Final = "linux"
# For a label that must be there, whatever its value.
ANY_VALUES: Final = ("", "other")
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
            "labels": _labels(workspace, sku),
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


def _labels(workspace: Workspace, sku: SKU) -> dict[str, str]:
    selected = _selector_labels(workspace, sku)
    return {
        **selected,
        keys.NODEPOOL: keys.NODEPOOL_KAITO,
        keys.WORKSPACE_UID: workspace.metadata.uid,
        keys.MANAGED_BY: selected.get(keys.MANAGED_BY, keys.MANAGED_BY_VALUE),
        **node_labels(workspace),
    }


def _selector_labels(workspace: Workspace, sku: SKU) -> Mapping[str, str]:
    """Labels that make a new node match the Workspace's own selector; reserved keys are not taken from the user."""
    needs: dict[str, list[LabelExpression]] = {}
    for need in workspace.resource.label_selector.requirements():
        if need.key not in keys.RESERVED_SELECTOR_KEYS:
            needs.setdefault(need.key, []).append(need)
    given = {keys.OPERATING_SYSTEM: OPERATING_SYSTEM, keys.INSTANCE_TYPE: sku.name}
    found = {key: _value(key, of_key, given.get(key)) for key, of_key in needs.items()}
    return {key: value for key, value in found.items() if value is not None}


def _value(key: str, needs: Sequence[LabelExpression], given: str | None) -> str | None:
    """The first value that meets every requirement on a label; None where it need not be there, or cannot be met.

    A label whose value is `given`, because the machine brings it, can have no other.
    """
    if not any(need.operator in (IN, EXISTS) for need in needs):
        return None
    named = [value for need in needs if need.operator == IN for value in need.values]
    candidates = [given] if given is not None else named or list(ANY_VALUES)
    return next((value for value in candidates if all(need.matches({key: value}) for need in needs)), None)


def _requirements(sku: SKU) -> list[dict[str, Any]]:
    requirements: list[dict[str, Any]] = [
        {"key": keys.NODEPOOL, "operator": "In", "values": [keys.NODEPOOL_KAITO]},
        {"key": keys.INSTANCE_TYPE, "operator": "In", "values": [sku.name]},
        {"key": keys.OPERATING_SYSTEM, "operator": "In", "values": [OPERATING_SYSTEM]},
    ]
    if sku.cloud == "azure":
        requirements.append({"key": keys.AZURE_SKU_NAME, "operator": "In", "values": [sku.name]})
    if sku.cloud == "aws":
        requirements.append({"key": keys.AWS_GPU_COUNT, "operator": "Gt", "values": ["0"]})
    return requirements
