"""hack/cluster with a state folder of the test's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_cluster.trial import ClusterTool

from kaito_controller.testing.processes import end, marked


@pytest.fixture
def tool(tmp_path: Path) -> Iterator[ClusterTool]:
    """hack/cluster, and afterwards the end of whatever a failed test left running."""
    state = tmp_path / "state"
    tool = ClusterTool(state=state, environment={**os.environ, "KAITO_STATE": str(state)})
    yield tool
    for folder in state.glob("clusters/*"):
        tool("down", "--name", folder.name)
        end(marked(str(folder)), grace_s=0)
