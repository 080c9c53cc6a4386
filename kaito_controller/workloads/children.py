"""What all children of a Workspace have in common: names, labels, owner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from inference_server import contract
from kaito_controller.api import labels as keys
from kaito_controller.api.workspace import WORKSPACES, Workspace
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.ownership import owner_reference

HEADLESS_SUFFIX: Final = "-headless"


def headless_name(workspace: Workspace) -> str:
    """The name of the Service that gives each pod its DNS name."""
    return workspace.metadata.name + HEADLESS_SUFFIX


def pod_host(workspace: Workspace, rank: int | str) -> str:
    """The name by which the pods of a Workspace find the one of a rank, ready or not; with `{}`, the pattern of all."""
    return f"{workspace.metadata.name}-{rank}.{headless_name(workspace)}.{workspace.metadata.namespace}.svc"


def rank_variable(node_count: int) -> list[dict[str, Any]]:
    """The variable with a pod's own rank, for the one template of all; none where there is one pod."""
    if node_count == 1:
        return []
    path = f"metadata.labels['{keys.POD_INDEX}']"
    return [{"name": contract.ENV_POD_INDEX, "valueFrom": {"fieldRef": {"fieldPath": path}}}]


def pod_labels(workspace: Workspace) -> dict[str, str]:
    """What selects the Workspace's pods, within its namespace.

    The marks of an InferenceSet or a MultiRoleInference that made the Workspace are handed down, as upstream does.
    """
    handed_down = (keys.CREATED_BY_INFERENCESET, keys.CREATED_BY_MULTIROLEINFERENCE, keys.INFERENCE_ROLE)
    own = workspace.metadata.labels
    return {keys.WORKSPACE_NAME: workspace.metadata.name, **{key: own[key] for key in handed_down if key in own}}


def child_metadata(workspace: Workspace, name: str, annotations: Mapping[str, str] | None = None) -> Object:
    """Metadata of a namespaced child: it goes when the Workspace goes."""
    identity = {"metadata": {"name": workspace.metadata.name, "uid": workspace.metadata.uid}}
    meta: Object = {
        "name": name,
        "namespace": workspace.metadata.namespace,
        "labels": {**pod_labels(workspace), keys.MANAGED_BY: keys.MANAGED_BY_VALUE},
        "ownerReferences": [owner_reference(WORKSPACES, identity)],
    }
    if annotations:
        meta["annotations"] = dict(sorted(annotations.items()))
    return meta
