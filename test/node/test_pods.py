"""Pods on real nodes run, answer, are named and are looked into, as on any cluster."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from kaito_controller.testing.eventually import eventually
from kaito_controller.testing.real_cluster import RealCluster

NOBODY = 65534
PYTHON = "/usr/bin/python3"
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a mount of the pod, not a folder that others write to


def web(name: str) -> list[dict[str, Any]]:
    """A StatefulSet of two on two nodes, from the host's own programs, with a headless and a normal Service."""
    labels = {"app": name}
    mounts = {"/usr": ("usr", None), "/lib": ("usr", "lib"), "/bin": ("usr", "bin"), "/lib64": ("lib64", None)}
    volume_mounts = [
        {"name": volume, "mountPath": path, "readOnly": True, **({"subPath": part} if part else {})}
        for path, (volume, part) in mounts.items()
    ]
    container = {
        "name": "web",
        "image": "kaito.local/pause:1",
        "imagePullPolicy": "Never",
        "command": [PYTHON, "-m", "http.server", "5000", "--directory", "/etc"],
        "readinessProbe": {"httpGet": {"path": "/hostname", "port": 5000}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [*volume_mounts, {"name": "shm", "mountPath": SHARED_MEMORY}],
    }
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": labels},
    }
    pod = {
        "terminationGracePeriodSeconds": 1,
        "topologySpreadConstraints": [spread],
        "securityContext": {"runAsNonRoot": True, "runAsUser": NOBODY, "runAsGroup": NOBODY},
        "containers": [container],
        "volumes": [
            {"name": "usr", "hostPath": {"path": "/usr"}},
            {"name": "lib64", "hostPath": {"path": "/lib64"}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
        ],
    }
    stateful_set = {
        "replicas": 2,
        "podManagementPolicy": "Parallel",
        "serviceName": f"{name}-headless",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    service = {"selector": labels, "ports": [{"port": 80, "targetPort": 5000}]}
    headless = {"clusterIP": "None", "selector": labels, "ports": [{"port": 5000}]}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"{name}-headless"}, "spec": headless},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}, "spec": stateful_set},
    ]


@pytest.fixture(scope="module")
def pods(cluster: RealCluster) -> Iterator[RealCluster]:
    cluster.apply(*web("web"))
    cluster.kubectl("rollout", "status", "statefulset/web", "--timeout=90s")
    yield cluster
    cluster.kubectl("delete", "statefulset/web", "service/web", "service/web-headless")


def in_pod(cluster: RealCluster, code: str) -> Any:
    return json.loads(cluster.kubectl("exec", "web-0", "--", PYTHON, "-c", f"import json\n{code}"))


def test_both_pods_answer_on_the_cluster_ip_from_the_host(pods: RealCluster):
    """The host reaches a ClusterIP through a node, whichever node the pod behind it is on."""
    address = pods.get("service", "web")["spec"]["clusterIP"]
    seen: set[str] = set()

    def both() -> bool:
        with urllib.request.urlopen(f"http://{address}/hostname", timeout=5) as answer:
            seen.add(answer.read().decode().strip())
        return seen == {"web-0", "web-1"}

    eventually("both pods answered", both, timeout_s=30)


def test_a_pod_reaches_services_and_pods_by_name(pods: RealCluster):
    """Service names, names of pods of a headless Service, and traffic to a pod of another node work from a pod."""
    code = (
        "from urllib.request import urlopen as get\n"
        "urls = ['http://web-1.web-headless:5000', 'http://web-0.web-headless.default.svc.cluster.local:5000']\n"
        "names = [get(url + '/hostname', timeout=5).read().decode().strip() for url in urls]\n"
        "through = {get('http://web/hostname', timeout=5).read().decode().strip() for _ in range(20)}\n"
        "print(json.dumps([names, sorted(through)]))"
    )
    names, through = in_pod(pods, code)
    assert ["web-1", "web-0"] == names
    assert set(through) <= {"web-0", "web-1"}


def test_a_pod_reaches_the_api_server(pods: RealCluster):
    """kubernetes.default resolves and answers with a certificate that the pod's own authority signed."""
    code = (
        "import ssl, urllib.request as u\n"
        "folder = '/var/run/secrets/kubernetes.io/serviceaccount/'\n"
        "context = ssl.create_default_context(cafile=folder + 'ca.crt')\n"
        "token = {'Authorization': 'Bearer ' + open(folder + 'token').read()}\n"
        "request = u.Request('https://kubernetes.default.svc/version', headers=token)\n"
        "print(json.dumps(u.urlopen(request, timeout=5, context=context).status))"
    )
    assert 200 == in_pod(pods, code)


def test_a_pod_runs_as_nobody_with_its_own_shared_memory(pods: RealCluster):
    """User, size of /dev/shm and read-only host folders are those that the pod asked for."""
    code = (
        "import os\n"
        "size = os.statvfs('/dev/shm')\n"
        "print(json.dumps([os.getuid(), size.f_blocks * size.f_frsize, os.access('/usr/bin', os.W_OK)]))"
    )
    assert [NOBODY, 256 << 20, False] == in_pod(pods, code)


def test_logs_are_read_through_the_api_server(pods: RealCluster):
    """`kubectl logs` shows what the probe's requests made the pod print."""
    eventually("the pod logged a request", lambda: "GET /hostname" in pods.kubectl("logs", "web-1"))


def test_names_that_are_not_there_fail_at_once(pods: RealCluster):
    """A name outside the cluster is refused, not waited for."""
    code = (
        "import socket, time\n"
        "started = time.monotonic()\n"
        "try:\n    socket.getaddrinfo('nowhere.example.com', 80)\n    found = True\n"
        "except OSError:\n    found = False\n"
        "print(json.dumps([found, time.monotonic() - started < 2]))"
    )
    assert [False, True] == in_pod(pods, code)
