"""The API server of the tests is the real one, and it comes back after everything a test does to it."""

from __future__ import annotations

import pytest

from kaito_controller.testing.apiserver import APIServer, KubectlError
from kaito_controller.testing.control_plane import API_SERVER
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
    assert not own_apiserver.control_plane.is_ready()
    own_apiserver.start_etcd()
    assert own_apiserver.url == url
    assert own_apiserver.get("configmap", "kept")["data"] == {"a": "b"}


def test_nobody_gets_in_without_a_certificate(apiserver: APIServer) -> None:
    """A request without a client certificate is refused: there is no anonymous access."""
    config = f"--kubeconfig=/dev/null --server={apiserver.url} --certificate-authority".split()
    with pytest.raises(KubectlError, match="Unauthorized|must be logged in"):
        apiserver.kubectl(*config, str(apiserver.control_plane.ca.certificate), "--username=x", "--password=y", "get", "ns")


def test_processes_are_found_by_their_marker(apiserver: APIServer) -> None:
    """etcd and the API server carry the marker of their folder, so a lost record does not hide them."""
    found = {process.pid for process in marked(str(apiserver.control_plane.folder.resolve()))}
    recorded = apiserver.control_plane.processes.get(API_SERVER)
    assert recorded is not None
    assert recorded.pid in found
    assert len(found) == 2
