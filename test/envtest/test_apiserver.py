"""The API server of the tests is the real one, and it comes back after everything a test does to it."""

from __future__ import annotations

import json

import pytest

from kaito_controller.testing.apiserver import APIServer, KubectlError
from kaito_controller.testing.control_plane import API_SERVER, SIMULATED
from kaito_controller.testing.eventually import eventually
from kaito_controller.testing.processes import marked


def test_serves_kubernetes(apiserver: APIServer, namespace: str) -> None:
    """A namespace can be made and read, and the version is the pinned one."""
    assert apiserver.get("namespace", namespace)["metadata"]["name"] == namespace
    assert "v1.37.2" in apiserver.kubectl("version")


def test_refuses_with_the_servers_own_words(apiserver: APIServer, namespace: str) -> None:
    """What kubectl says about a missing object reaches the test."""
    with pytest.raises(KubectlError, match='configmaps "none" not found'):
        apiserver.kubectl("get", "configmap", "none", f"--namespace={namespace}")


def test_survives_restarts(own_apiserver: APIServer) -> None:
    """Objects are there again, at the same address, after the API server is killed and etcd is restarted."""
    own_apiserver.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    url = own_apiserver.url
    own_apiserver.restart_apiserver(kill=True)
    own_apiserver.stop_etcd()
    eventually("the API server notices", lambda: not own_apiserver.control_plane.is_ready())
    own_apiserver.start_etcd()
    assert own_apiserver.url == url
    assert own_apiserver.get("configmap", "kept")["data"] == {"a": "b"}


def test_nobody_gets_in_without_a_certificate(apiserver: APIServer) -> None:
    """A request without a client certificate is refused: there is no anonymous access."""
    authority = f"--certificate-authority={apiserver.control_plane.ca.certificate}"
    stranger = ["--kubeconfig=/dev/null", f"--server={apiserver.url}", authority, "--username=x", "--password=y"]
    with pytest.raises(KubectlError, match=r"Unauthorized|must be logged in"):
        apiserver.kubectl(*stranger, "get", "namespaces")


def test_processes_are_found_by_their_marker(apiserver: APIServer) -> None:
    """Both etcd and the API server carry the marker of their folder, so a lost record does not hide them."""
    found = {process.pid for process in marked(str(apiserver.control_plane.folder.resolve()))}
    recorded = apiserver.control_plane.processes.get(API_SERVER)
    assert recorded is not None
    assert recorded.pid in found
    assert len(found) == 2


def simulated_node(name: str, **capacity: str) -> dict[str, object]:
    """A node that kwok plays, with the capacity it is to have."""
    status = {"capacity": capacity, "allocatable": capacity} if capacity else {}
    metadata = {"name": name, "annotations": {SIMULATED: "fake"}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status}


def test_simulated_nodes_run_pods(cluster: APIServer, cluster_namespace: str) -> None:
    """On a node that kwok plays, with emulated GPUs, a StatefulSet gets its pod ready, and a Job completes."""
    gpus = {"cpu": "8", "memory": "64Gi", "pods": "110", "nvidia.com/gpu": "2"}
    cluster.kubectl("create", "--filename=-", stdin=json.dumps(simulated_node("simulated-1", **gpus)))
    cluster.kubectl("wait", "node/simulated-1", "--for=condition=Ready", "--timeout=30s")
    container = {"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    pod = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container]}}
    stateful_set = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "set", "namespace": cluster_namespace},
        "spec": {"serviceName": "set", "selector": {"matchLabels": {"app": "x"}}, "template": pod},
    }
    job_pod = {"spec": {"containers": [container], "restartPolicy": "Never"}}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "job", "namespace": cluster_namespace},
        "spec": {"template": job_pod},
    }
    cluster.apply(stateful_set, job)
    namespace = f"--namespace={cluster_namespace}"
    cluster.kubectl("rollout", "status", "statefulset/set", "--timeout=30s", namespace)
    cluster.kubectl("wait", "job/job", "--for=condition=Complete", "--timeout=30s", namespace)
    ready = cluster.get("pod", "set-0", namespace)
    assert ready["spec"]["nodeName"] == "simulated-1"
    assert ready["status"]["podIP"].startswith("198.1")
    assert cluster.get("node", "simulated-1")["status"]["capacity"]["nvidia.com/gpu"] == "2"
    cluster.kubectl("delete", "statefulset/set", "pod/set-0", "--timeout=30s", "--ignore-not-found", namespace)
