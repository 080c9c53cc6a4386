"""The Services of a Workspace."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kaito_controller.api.workspace import Workspace
from kaito_controller.workloads.service import headless_service, service

MakeWorkspace = Callable[..., Workspace]


def test_users_reach_the_first_pod_once_it_is_ready(workspace: MakeWorkspace):
    """Port 80 leads to 5000 of pod 0; nothing else is exposed, and no pod that is not ready is published."""
    made = service(workspace())

    assert made["metadata"]["name"] == "chat"
    assert made["spec"] == {
        "type": "ClusterIP",
        "selector": {"kaito.sh/workspace": "chat", "statefulset.kubernetes.io/pod-name": "chat-0"},
        "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 5000}],
    }


@pytest.mark.parametrize(
    ("value", "kind"), [("True", "LoadBalancer"), ("true", "ClusterIP"), ("False", "ClusterIP"), ("", "ClusterIP")]
)
def test_a_load_balancer_is_asked_for_by_annotation(workspace: MakeWorkspace, value: str, kind: str):
    """Exactly `True`, as upstream has it and as the warning at apply time says of every other value."""
    made = service(workspace(metadata={"annotations": {"kaito.sh/enablelb": value}}))

    assert made["spec"]["type"] == kind


def test_pods_find_one_another_before_they_are_ready(workspace: MakeWorkspace):
    """The headless Service publishes addresses that are not ready."""
    made = headless_service(workspace())

    assert made["metadata"]["name"] == "chat-headless"
    assert made["spec"] == {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {"kaito.sh/workspace": "chat"},
    }


def test_both_go_with_the_workspace(workspace: MakeWorkspace):
    """Each carries the controller reference of its Workspace, and the label its watch selects."""
    for made in (service(workspace()), headless_service(workspace())):
        assert made["metadata"]["ownerReferences"] == [
            {
                "apiVersion": "kaito.sh/v1beta1",
                "kind": "Workspace",
                "name": "chat",
                "uid": "0e5c-11",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
        assert made["metadata"]["labels"]["kaito.sh/workspace"] == "chat"
