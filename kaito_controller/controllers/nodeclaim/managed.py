"""Which NodeClaims and Nodes are ours: those of the provider's node classes. Everything else is left alone entirely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kaito_controller.kube import metadata
from kaito_controller.kube.conditions import TRUE, status_of
from kaito_controller.kube.metadata import Object
from kaito_controller.providers.protocol import NodeClass


def is_managed(claim: Object, node_classes: Sequence[NodeClass]) -> bool:
    """Whether the claim's nodeClassRef names a class of these, by group and kind; the name does not matter."""
    reference = _object(_object(claim.get("spec")).get("nodeClassRef"))
    found = (reference.get("group"), reference.get("kind"))
    return any(found == (known.group, known.kind) for known in node_classes)


def carries_class(node: Object, node_classes: Sequence[NodeClass]) -> bool:
    """Whether the Node carries the label of one of these node classes, which registration gave it.

    It tells our Nodes from those of another provisioner when the claim is gone; both use the same finalizer.
    """
    return any(known.label in metadata.labels(node) for known in node_classes)


def provider_id(node: Object) -> str:
    """The provider ID that a Node's kubelet or cloud wrote; empty before that."""
    return str(_object(node.get("spec")).get("providerID") or "")


def claimed_provider_id(claim: Object) -> str:
    """The provider ID that a claim's launch wrote; empty before that."""
    return str(_object(claim.get("status")).get("providerID") or "")


def is_ready(node: Object) -> bool:
    """Whether the kubelet says that the Node is Ready."""
    return status_of(node, "Ready") == TRUE


def _object(value: Any) -> Mapping[str, Any]:
    """Who an object belongs to is asked of those, too, that have not the form of their kind."""
    return value if isinstance(value, Mapping) else {}
