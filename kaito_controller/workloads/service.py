"""The two Services of a Workspace: one for its users, one for its pods."""

from __future__ import annotations

from typing import Final

from inference_server import contract
from kaito_controller.api import labels as keys
from kaito_controller.api.workspace import Workspace
from kaito_controller.kube.core import SERVICES
from kaito_controller.kube.metadata import Object
from kaito_controller.workloads.children import child_metadata, headless_name, pod_labels

SERVICE_PORT: Final = 80


def service(workspace: Workspace) -> Object:
    """The Service that users call: port 80 of the pod that answers, once it is ready.

    Only pod 0 answers; the others hold further parts of the same model. Annotation `kaito.sh/enablelb: "True"`, in
    exactly this spelling, makes it a LoadBalancer. Nothing but the model's own port is exposed.
    """
    wanted = workspace.metadata.annotations.get(keys.ENABLE_LOAD_BALANCER, "")
    return {
        "apiVersion": SERVICES.api_version,
        "kind": SERVICES.kind,
        "metadata": child_metadata(workspace, workspace.metadata.name),
        "spec": {
            "type": "LoadBalancer" if wanted == "True" else "ClusterIP",
            "selector": {
                keys.WORKSPACE_NAME: workspace.metadata.name,
                keys.POD_NAME: f"{workspace.metadata.name}-0",
            },
            "ports": [
                {
                    "name": contract.PORT_NAME,
                    "protocol": "TCP",
                    "port": SERVICE_PORT,
                    "targetPort": contract.PORT,
                }
            ],
        },
    }


def headless_service(workspace: Workspace) -> Object:
    """The Service that gives each pod a DNS name before it is ready: the parts of a model must meet first."""
    return {
        "apiVersion": SERVICES.api_version,
        "kind": SERVICES.kind,
        "metadata": child_metadata(workspace, headless_name(workspace)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": pod_labels(workspace),
        },
    }
