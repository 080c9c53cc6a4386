"""The kinds we define, with their versions and the columns of `kubectl get`."""

from __future__ import annotations

from kaito_controller.api import labels
from kaito_controller.api.conditions import ConditionType
from kaito_controller.api.nodeclaim import NODE_CLAIMS, NodeClaim
from kaito_controller.api.workspace import WORKSPACES, WORKSPACES_V1ALPHA1, Workspace
from kaito_controller.kube.crd import CustomKind, PrinterColumn, ServedVersion

_OURS = {labels.MANAGED_BY: labels.MANAGED_BY_VALUE}


def _condition(column: str, condition: ConditionType, *, priority: int = 0) -> PrinterColumn:
    path = f'.status.conditions[?(@.type=="{condition}")].status'
    return PrinterColumn(column, path, description=condition.meaning, priority=priority)


_INSTANCE = PrinterColumn("Instance", ".resource.instanceType", description="Instance type of the nodes made for it.")
_AGE = PrinterColumn("Age", ".metadata.creationTimestamp", "date")

WORKSPACE = CustomKind(
    resource=WORKSPACES,
    cls=Workspace,
    short_names=("wk", "wks"),
    categories=("workspace", "kaito"),
    labels=_OURS,
    versions=(
        ServedVersion(
            name=WORKSPACES_V1ALPHA1.version,
            columns=(
                _INSTANCE,
                _condition("ResourceReady", ConditionType.RESOURCE_READY),
                _condition("InferenceReady", ConditionType.INFERENCE_READY),
                _condition("WorkspaceReady", ConditionType.WORKSPACE_SUCCEEDED),
                _AGE,
            ),
        ),
        ServedVersion(
            name=WORKSPACES.version,
            columns=(
                _INSTANCE,
                _condition("ResourceReady", ConditionType.RESOURCE_READY),
                _condition("InferenceReady", ConditionType.INFERENCE_READY),
                _condition("JobStarted", ConditionType.JOB_STARTED),
                _condition("WorkspaceSucceeded", ConditionType.WORKSPACE_SUCCEEDED),
                PrinterColumn(
                    "TargetNodeCount", ".status.targetNodeCount", "integer", "Number of nodes that the plan needs."
                ),
                PrinterColumn("State", ".status.state", description="Where the Workspace stands, in one word."),
                _AGE,
            ),
        ),
    ),
)

NODE_CLAIM = CustomKind(
    resource=NODE_CLAIMS,
    cls=NodeClaim,
    categories=("karpenter",),
    labels=_OURS,
    versions=(
        ServedVersion(
            name=NODE_CLAIMS.version,
            columns=(
                PrinterColumn("Type", r".metadata.labels.node\.kubernetes\.io/instance-type"),
                PrinterColumn("Capacity", r".metadata.labels.karpenter\.sh/capacity-type"),
                PrinterColumn("Zone", r".metadata.labels.topology\.kubernetes\.io/zone"),
                PrinterColumn("Node", ".status.nodeName"),
                _condition("Ready", ConditionType.READY),
                _AGE,
                PrinterColumn("ImageID", ".status.imageID", priority=1),
                PrinterColumn("ID", ".status.providerID", priority=1),
                PrinterColumn("NodePool", r".metadata.labels.karpenter\.sh/nodepool", priority=1),
                PrinterColumn("NodeClass", ".spec.nodeClassRef.name", priority=1),
                _condition("Drifted", ConditionType.DRIFTED, priority=1),
            ),
        ),
    ),
)

KINDS = (WORKSPACE, NODE_CLAIM)
"""Every kind that config/crd holds."""
