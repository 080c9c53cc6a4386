"""What a new cluster is given besides the bootstrap policy of Kubernetes: rights of our own clients."""

from __future__ import annotations

from typing import Any

KWOK_USER = "kwok"
KUBELET_CLIENT_USER = "kube-apiserver-kubelet-client"

_GROUP = "rbac.authorization.k8s.io"


def objects() -> list[dict[str, Any]]:
    """Return the objects to create once, right after the first start of the API server."""
    return [
        _binding("kaito:kubelet-client", KUBELET_CLIENT_USER, "system:kubelet-api-admin"),
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "kaito:kwok"},
            "rules": [
                _rule("", ["nodes", "pods"], "get list watch patch delete"),
                _rule("", ["nodes/status", "pods/status"], "get update patch"),
                _rule("coordination.k8s.io", ["leases"], "get list watch create update patch delete"),
                _rule("", ["events"], "create update patch"),
            ],
        },
        _binding("kaito:kwok", KWOK_USER, "kaito:kwok"),
    ]


def _rule(group: str, resources: list[str], verbs: str) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs.split()}


def _binding(name: str, user: str, role: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": _GROUP, "kind": "User", "name": user}],
    }
