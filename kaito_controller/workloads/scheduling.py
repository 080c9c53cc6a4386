"""Which nodes a Workspace's pods go to, and which taints do not keep them away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kaito_controller.api import labels as keys
from kaito_controller.api.workspace import Workspace
from kaito_controller.kube.selectors import IN, LabelExpression

TOLERATIONS: Final[tuple[Mapping[str, str], ...]] = (
    {"key": keys.NVIDIA_GPU, "operator": "Exists", "effect": "NoSchedule"},
    {"key": keys.TAINT_SKU, "operator": "Equal", "value": keys.TAINT_SKU_GPU, "effect": "NoSchedule"},
    {"key": keys.AZURE_SPOT, "operator": "Equal", "value": "spot", "effect": "NoSchedule"},
)


def tolerations() -> list[dict[str, str]]:
    """Taints of GPU nodes: NVIDIA's, the NodeClaim's own, and Azure's of spot nodes."""
    return [dict(toleration) for toleration in TOLERATIONS]


def affinity(workspace: Workspace, pins: Mapping[str, str]) -> dict[str, Any] | None:
    """The node affinity: everything that the Workspace's selector requires, and the `pins`; None when that is nothing.

    matchExpressions count as matchLabels do. Reserved keys come from `pins` only.
    """
    required = [
        requirement
        for requirement in workspace.resource.label_selector.requirements()
        if requirement.key not in keys.RESERVED_SELECTOR_KEYS
    ]
    required += [LabelExpression(key=key, operator=IN, values=(value,)) for key, value in sorted(pins.items())]
    if not required:
        return None
    term = {"matchExpressions": [_expression(requirement) for requirement in required]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


def _expression(requirement: LabelExpression) -> dict[str, Any]:
    expression: dict[str, Any] = {"key": requirement.key, "operator": requirement.operator}
    if requirement.values:
        expression["values"] = list(requirement.values)
    return expression
