"""Second step: the machine has joined as a Node; make that Node the claim's. Pure: claim and Nodes in, patch out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from kaito_controller.api import labels as keys
from kaito_controller.api.conditions import ConditionType
from kaito_controller.api.nodeclaim import NODE_CLAIMS, NodeClaim
from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.nodeclaim import taints
from kaito_controller.controllers.nodeclaim.conditions import fails, holds, unknown
from kaito_controller.kube import metadata
from kaito_controller.kube.conditions import Condition
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.serde import unstructure
from kaito_controller.machinery.client.finalizers import with_finalizers

UNREGISTERED_TAINT = {"key": keys.TAINT_UNREGISTERED, "effect": "NoExecute"}

# What identifies the Node itself stays what the kubelet wrote; what describes the claim's own history stays there.
_NOT_COPIED_LABELS = frozenset({keys.HOSTNAME})
_NOT_COPIED_ANNOTATIONS = frozenset({keys.TERMINATION_TIMESTAMP})
_NOT_COPIED_PREFIX = "kubectl.kubernetes.io/"


@frozen(kw_only=True)
class Registration:
    """What the step found: the condition, the Node, and the merge patch that it needs first (empty: nothing)."""

    condition: Condition
    node: Object | None = None
    patch: Mapping[str, Any] = field(factory=dict)
    taint_was_missing: bool = False


def register(claim: NodeClaim, nodes: Sequence[Object]) -> Registration:
    """Decide from the Nodes that carry the claim's provider ID."""
    present = [node for node in nodes if not metadata.is_deleting(node)]
    if not present:
        message = f"no Node with spec.providerID {claim.status.provider_id} has joined the cluster yet"
        return Registration(condition=unknown(ConditionType.REGISTERED, Reason.NODE_NOT_FOUND, message))
    if len(present) > 1:
        names = ", ".join(sorted(metadata.name(node) for node in present))
        message = f"{len(present)} Nodes carry spec.providerID {claim.status.provider_id}: {names}; one must go"
        return Registration(condition=fails(ConditionType.REGISTERED, Reason.MULTIPLE_NODES_FOUND, message))
    node = present[0]
    spec_taints = (node.get("spec") or {}).get("taints") or ()
    return Registration(
        condition=holds(ConditionType.REGISTERED),
        node=node,
        patch=adoption(claim, node),
        taint_was_missing=not is_registered(node) and not taints.has(spec_taints, UNREGISTERED_TAINT),
    )


def adoption(claim: NodeClaim, node: Object) -> Mapping[str, Any]:
    """The merge patch that makes the Node the claim's, empty when it is already; guarded by its resourceVersion.

    Finalizer, owner, labels, annotations and taints of the claim come on; the unregistered taint goes, last as it were:
    from then on the scheduler may use the Node.
    """
    head = with_finalizers(node, keys.TERMINATION_FINALIZER)
    if all(owner.get("uid") != claim.metadata.uid for owner in metadata.owner_references(node)):
        head["ownerReferences"] = [*metadata.owner_references(node), _owner(claim)]
    wanted_labels = _labels(claim)
    if missing := _missing(metadata.labels(node), wanted_labels):
        head["labels"] = missing
    if missing := _missing(metadata.annotations(node), _annotations(claim)):
        head["annotations"] = missing
    patch: dict[str, Any] = {}
    present = list((node.get("spec") or {}).get("taints") or ())
    wanted = _taints(claim, node, present)
    if wanted != present:
        patch["spec"] = {"taints": wanted}
    if head or patch:
        patch["metadata"] = head | {"resourceVersion": metadata.resource_version(node)}
    return patch


def _taints(claim: NodeClaim, node: Object, present: list[taints.Taint]) -> list[taints.Taint]:
    """The Node's taints; start-up taints come on once, since from then on somebody else removes them."""
    wanted = present
    if not is_registered(node) and metadata.labels(node).get(keys.DO_NOT_SYNC_TAINTS) != "true":
        asked = [unstructure(taint) for taint in (*claim.spec.taints, *claim.spec.startup_taints)]
        wanted = taints.merged(present, asked)
    return taints.without(wanted, UNREGISTERED_TAINT)


def is_registered(node: Object) -> bool:
    """Whether the Node was made some claim's, and not replaced since."""
    return metadata.labels(node).get(keys.NODE_REGISTERED) == "true"


def _owner(claim: NodeClaim) -> Mapping[str, Any]:
    return {
        "apiVersion": NODE_CLAIMS.api_version,
        "kind": NODE_CLAIMS.kind,
        "name": claim.metadata.name,
        "uid": claim.metadata.uid,
        "blockOwnerDeletion": True,
    }


def _labels(claim: NodeClaim) -> Mapping[str, str]:
    reference = claim.spec.node_class_ref
    copied = {key: value for key, value in claim.metadata.labels.items() if key not in _NOT_COPIED_LABELS}
    return copied | {
        f"{reference.group}/{reference.kind.lower()}": reference.name,
        keys.NODE_REGISTERED: "true",
    }


def _annotations(claim: NodeClaim) -> Mapping[str, str]:
    return {
        key: value
        for key, value in claim.metadata.annotations.items()
        if key not in _NOT_COPIED_ANNOTATIONS and not key.startswith(_NOT_COPIED_PREFIX)
    }


def _missing(present: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in wanted.items() if present.get(key) != value}
