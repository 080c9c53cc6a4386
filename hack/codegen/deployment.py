"""config/manager and config/default: the operator as a Deployment, and all of it in one kustomization."""

from __future__ import annotations

from typing import Any

from codegen.documents import kustomization, yaml_text
from codegen.permissions import LABELS, NAMESPACE, SERVICE_ACCOUNT

IMAGE = "kaito-controller"
TAG = "0.1.0"
METRICS_PORT = 8443
HEALTH_PORT = 8081

_SELECTOR = {"app.kubernetes.io/name": "kaito-controller", "app.kubernetes.io/component": "operator"}


def files() -> dict[str, str]:
    """Every file of config/manager and config/default."""
    return {
        "config/manager/deployment.yaml": yaml_text(deployment()),
        "config/manager/metrics_service.yaml": yaml_text(metrics_service()),
        "config/manager/kustomization.yaml": kustomization(
            ["deployment.yaml", "metrics_service.yaml"],
            images=[{"name": IMAGE, "newTag": TAG}],
        ),
        "config/default/kustomization.yaml": kustomization(["../crd", "../rbac", "../admission", "../manager"]),
    }


def deployment() -> dict[str, Any]:
    """The operator. Its pod passes Pod Security restricted; leader election lets an old and a new pod overlap."""
    metadata = {"name": "kaito-controller", "namespace": NAMESPACE, "labels": LABELS | _SELECTOR}
    pod = {
        "serviceAccountName": SERVICE_ACCOUNT,
        "priorityClassName": "system-cluster-critical",
        # 30 s for what runs, 10 for the lease, 2 for the last events, and some for the way down.
        "terminationGracePeriodSeconds": 45,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "containers": [_container()],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": dict(_SELECTOR)},
            "template": {"metadata": {"labels": LABELS | _SELECTOR}, "spec": pod},
        },
    }


def metrics_service() -> dict[str, Any]:
    """Where Prometheus finds the operator's metrics: over HTTPS, with a token whose user may get /metrics."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kaito-controller-metrics", "namespace": NAMESPACE, "labels": LABELS | _SELECTOR},
        "spec": {
            "selector": dict(_SELECTOR),
            "ports": [{"name": "metrics", "port": METRICS_PORT, "targetPort": "metrics"}],
        },
    }


def _container() -> dict[str, Any]:
    return {
        "name": "operator",
        "image": IMAGE,
        "args": [
            "run",
            "--controllers=workspace",
            "--leader-elect",
            f"--leader-election-namespace={NAMESPACE}",
            f"--metrics-bind-address=:{METRICS_PORT}",
            "--metrics-secure",
            f"--health-probe-bind-address=:{HEALTH_PORT}",
        ],
        "ports": [
            {"name": "metrics", "containerPort": METRICS_PORT},
            {"name": "health", "containerPort": HEALTH_PORT},
        ],
        "startupProbe": _probe("/healthz", period_s=2, failures=30),
        "livenessProbe": _probe("/healthz", period_s=10, failures=3),
        "readinessProbe": _probe("/readyz", period_s=5, failures=2),
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "384Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _probe(path: str, *, period_s: int, failures: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "health"}, "periodSeconds": period_s, "failureThreshold": failures}
