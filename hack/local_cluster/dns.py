"""The DNS of the local cluster: CoreDNS as a pod on the base nodes, so that Services and headless pods have names."""

from __future__ import annotations

import json
from typing import Any

from kaito_controller.providers.local.cluster import LocalCluster
from local_cluster.kubectl import Kubectl

BASE_NODE_LABEL = "kaito.local/role"
BASE_NODE_VALUE = "base"
NAMESPACE = "kube-system"
NAME = "coredns"
_LABELS = {"k8s-app": "kube-dns"}
_PORT = 10053
_USER = 65534


def apply(kubectl: Kubectl, cluster: LocalCluster, image: str) -> None:
    """Apply the DNS server's objects. The image is loaded on base nodes only, so it runs nowhere else."""
    documents = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests(cluster, image)})
    kubectl.run("apply", "--server-side", "--field-manager=hack-cluster", "--filename=-", stdin=documents)


def wait(kubectl: Kubectl, timeout_s: int = 60) -> None:
    """Wait until the DNS server answers. Raises `KubectlError` when it does not within `timeout_s`."""
    kubectl.run("rollout", "status", f"deployment/{NAME}", f"--namespace={NAMESPACE}", f"--timeout={timeout_s}s")


def manifests(cluster: LocalCluster, image: str) -> list[dict[str, Any]]:
    """Return the objects of the DNS server, in the order in which they are applied."""
    return [
        _object("v1", "ServiceAccount"),
        _object("rbac.authorization.k8s.io/v1", "ClusterRole", namespaced=False, rules=_RULES),
        _object(
            "rbac.authorization.k8s.io/v1",
            "ClusterRoleBinding",
            namespaced=False,
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"system:{NAME}"},
            subjects=[{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
        ),
        _object("v1", "ConfigMap", data={"Corefile": corefile(cluster.cluster_domain)}),
        _object("apps/v1", "Deployment", spec=_deployment(image)),
        {
            **_object("v1", "Service", spec=_service(cluster.cluster_dns)),
            # The name under which everybody, conformance tests included, looks for the DNS of a cluster.
            "metadata": {"name": "kube-dns", "namespace": NAMESPACE, "labels": _LABELS},
        },
    ]


def corefile(domain: str) -> str:
    """CoreDNS's configuration: the cluster's names, and nothing else, for pods have no way out of this machine."""
    return f""".:{_PORT} {{
    errors
    health :8080
    ready :8181
    kubernetes {domain} in-addr.arpa {{
        pods verified
        ttl 1
    }}
}}
"""


_RULES: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
]


def _object(api_version: str, kind: str, *, namespaced: bool = True, **parts: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": NAME, "namespace": NAMESPACE} if namespaced else {"name": f"system:{NAME}"}
    return {"apiVersion": api_version, "kind": kind, "metadata": {**metadata, "labels": _LABELS}, **parts}


def _deployment(image: str) -> dict[str, Any]:
    return {
        "replicas": 1,
        "selector": {"matchLabels": _LABELS},
        # Two would share nothing but the node: one is ended before the next begins.
        "strategy": {"type": "Recreate"},
        "template": {
            "metadata": {"labels": _LABELS},
            "spec": {
                "serviceAccountName": NAME,
                "priorityClassName": "system-cluster-critical",
                "dnsPolicy": "Default",
                "nodeSelector": {BASE_NODE_LABEL: BASE_NODE_VALUE},
                "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}],
                "terminationGracePeriodSeconds": 5,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": _USER,
                    "runAsGroup": _USER,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [_container(image)],
                "volumes": [{"name": "config", "configMap": {"name": NAME}}],
            },
        },
    }


def _container(image: str) -> dict[str, Any]:
    return {
        "name": NAME,
        "image": image,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "containerPort": _PORT, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": _PORT, "protocol": "TCP"},
        ],
        "resources": {"requests": {"cpu": "20m", "memory": "30Mi"}, "limits": {"memory": "170Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "failureThreshold": 5},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }


def _service(address: str) -> dict[str, Any]:
    return {
        "clusterIP": address,
        "selector": _LABELS,
        "ports": [
            {"name": "dns", "port": 53, "targetPort": _PORT, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "targetPort": _PORT, "protocol": "TCP"},
        ],
    }
