"""A cluster with two real base nodes, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kaito_controller.providers.local import programs
from kaito_controller.testing.real_cluster import RealCluster, hack_cluster

_PATIENCE_S = 900
"""Machines and clusters are real processes: on a machine that is busy with other things they take their time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(_PATIENCE_S))


@pytest.fixture(scope="session", autouse=True)
def needs_real_nodes() -> None:
    """Skip where real nodes cannot be."""
    reason = programs.problem()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, needs_real_nodes: None) -> Iterator[RealCluster]:
    """Two base nodes with DNS, taken down at the end."""
    state = tmp_path_factory.mktemp("state")
    try:
        hack_cluster(state, "up", "--name", "node-test", "--nodes", "2")
        yield RealCluster(folder=state / "clusters" / "node-test")
    finally:
        hack_cluster(state, "down", "--name", "node-test")
