"""Third step: the Node is fit for work. Pure: a claim and its Node in, a condition and a patch out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from kaito_controller.api import labels as keys
from kaito_controller.api.conditions import ConditionType
from kaito_controller.api.nodeclaim import NodeClaim
from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.nodeclaim import managed, taints
from kaito_controller.controllers.nodeclaim.conditions import holds, unknown
from kaito_controller.controllers.nodeclaim.lifecycle.registration import UNREGISTERED_TAINT
from kaito_controller.kube import metadata, quantity
from kaito_controller.kube.conditions import Condition, condition_of
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.serde import unstructure

STORAGE = "storage"
"""KAITO asks for the size of the disk under this name; no Node ever shows it, so it is not waited for."""

_EPHEMERAL_TAINTS = (
    {"key": keys.TAINT_NOT_READY, "effect": "NoSchedule"},
    {"key": keys.TAINT_NOT_READY, "effect": "NoExecute"},
    {"key": keys.TAINT_UNREACHABLE, "effect": "NoSchedule"},
    {"key": keys.TAINT_UNINITIALIZED, "effect": "NoSchedule"},
    UNREGISTERED_TAINT,
)


@frozen(kw_only=True)
class Initialization:
    """What the step found: the condition, and the merge patch of the Node when it is fit and not yet labelled so."""

    condition: Condition
    patch: Mapping[str, Any] = field(factory=dict)


def initialize(claim: NodeClaim, node: Object | None) -> Initialization:
    """Decide whether the Node is fit: Ready, without start-up and passing taints, with every resource it owes."""
    waits = _waits_for(claim, node)
    if waits is not None or node is None:
        reason, message = waits or _gone(claim)
        return Initialization(condition=unknown(ConditionType.INITIALIZED, reason, message))
    patch = {} if is_initialized(node) else {"metadata": {"labels": {keys.NODE_INITIALIZED: "true"}}}
    return Initialization(condition=holds(ConditionType.INITIALIZED), patch=patch)


def is_initialized(node: Object) -> bool:
    """Whether the Node was found fit before, and not replaced since."""
    return metadata.labels(node).get(keys.NODE_INITIALIZED) == "true"


def _waits_for(claim: NodeClaim, node: Object | None) -> tuple[Reason, str] | None:
    if node is None or metadata.is_deleting(node):
        return _gone(claim)
    if not managed.is_ready(node):
        return Reason.NODE_NOT_READY, _not_ready(node)
    present = (node.get("spec") or {}).get("taints") or ()
    startup = [taint for taint in map(unstructure, claim.spec.startup_taints) if taints.has(present, taint)]
    if startup:
        return Reason.STARTUP_TAINTS_EXIST, f"start-up taint {taints.shown(startup[0])} is still on the Node"
    passing = [taint for taint in present if _is_ephemeral(taint)]
    if passing:
        return Reason.EPHEMERAL_TAINTS_EXIST, f"taint {taints.shown(passing[0])} is still on the Node"
    missing = missing_resources(claim, node)
    if missing:
        names = ", ".join(missing)
        return Reason.RESOURCE_NOT_REGISTERED, f"the Node's status.allocatable does not show {names} yet"
    return None


def missing_resources(claim: NodeClaim, node: Object) -> tuple[str, ...]:
    """Resources that the claim asks for, or its cloud promised as devices, and that the Node does not show yet.

    Karpenter looks at the requests alone; KAITO's claims request only storage, so a Node counted as initialized before
    its GPU plugin had registered. Extended resources in status.capacity (names with a domain) are therefore owed too.
    """
    owed = {name: amount for name, amount in claim.status.capacity.items() if _is_extended(name)}
    owed |= claim.spec.resources.requests
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    return tuple(
        sorted(
            name
            for name, amount in owed.items()
            if name != STORAGE and quantity.parse(amount) > 0 and quantity.parse(allocatable.get(name, 0)) <= 0
        )
    )


def _is_extended(name: str) -> bool:
    return "/" in name and not name.partition("/")[0].endswith("kubernetes.io")


def _is_ephemeral(taint: taints.Taint) -> bool:
    return taints.has(_EPHEMERAL_TAINTS, taint) or str(taint.get("key")).startswith(keys.TAINT_READINESS_PREFIX)


def _gone(claim: NodeClaim) -> tuple[Reason, str]:
    return Reason.NODE_NOT_FOUND, f"Node {claim.status.node_name} is not there any more"


def _not_ready(node: Object) -> str:
    ready = condition_of(node, "Ready")
    if ready is None:
        return "the kubelet has not reported yet"
    return f"the kubelet says: {ready.get('message') or ready.get('reason') or 'not Ready'}"
