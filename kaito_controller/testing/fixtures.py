"""Fixtures with a real API server, for every suite that wants them: a conftest.py imports those that it uses.

The programs are built on first use, once for all checkouts (hack/binaries).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaito_controller.testing.apiserver import APIServer, serving
from kaito_controller.testing.control_plane import CONTROLLER_MANAGER, KWOK, SCHEDULER

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[APIServer]:
    """An etcd and kube-apiserver, with our resource definitions: what is written stays as it is written."""
    with serving(tmp_path_factory.mktemp("apiserver", numbered=True)) as server:
        yield server


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[APIServer]:
    """A second API server, with controllers, scheduler and simulated nodes: StatefulSets make pods, and they run."""
    components = (CONTROLLER_MANAGER, SCHEDULER, KWOK)
    with serving(tmp_path_factory.mktemp("cluster", numbered=True), components=components) as server:
        yield server


@pytest.fixture
def namespace(apiserver: APIServer) -> str:
    """A fresh namespace on `apiserver`."""
    return apiserver.create_namespace(f"test-{next(_numbers)}")


@pytest.fixture
def cluster_namespace(cluster: APIServer) -> str:
    """A fresh namespace on `cluster`."""
    return cluster.create_namespace(f"test-{next(_numbers)}")


@pytest.fixture
def own_apiserver(tmp_path: Path) -> Iterator[APIServer]:
    """An API server of this test alone, to stop, kill and restart."""
    with serving(tmp_path / "apiserver") as server:
        yield server
