"""Clusters with real nodes, started and killed through hack/cluster."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from local_cluster.trial import ClusterTool

from kaito_controller.providers.local import programs
from kaito_controller.testing.control_plane import API_SERVER
from kaito_controller.testing.eventually import eventually
from kaito_controller.testing.processes import Processes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(programs.problem() is not None, reason=programs.problem() or ""),
]


def filter_rules() -> list[str]:
    """The host's packet filter rules, without counters and comments."""
    if not shutil.which("iptables-save", path=programs.PATH):
        return []
    saved = subprocess.check_output(["iptables-save"], text=True, env={"PATH": programs.PATH})
    return [line for line in saved.splitlines() if line.startswith("-A")]


def test_killed_at_every_stage_it_starts_again_and_goes_without_a_trace(tool: ClusterTool) -> None:
    """`up` killed while nodes start, then a node and the API server killed: each `up` mends, `down` leaves nothing."""
    rules = filter_rules()
    folder = tool.folder("kaito")
    starting = tool.start("up", "--nodes", "1", "--kwok-nodes", "1")
    eventually("a node is being started", (folder / "nodes" / "base-1" / "process.json").exists)
    starting.kill()
    starting.communicate()

    tool.ok("up", "--nodes", "1", "--kwok-nodes", "1")
    assert "base-1        Ready" in tool.ok("status")
    node = json.loads((folder / "nodes" / "base-1" / "process.json").read_text())
    os.kill(node["pid"], signal.SIGKILL)
    tool.ok("up")
    mended = json.loads((folder / "nodes" / "base-1" / "process.json").read_text())
    assert mended != node

    api_server = Processes(folder).get(API_SERVER)
    assert api_server is not None
    os.kill(api_server.pid, signal.SIGKILL)
    assert "base-1/kubelet" in tool.ok("logs").split()
    tool.ok("down")
    assert tool.traces("kaito") == []
    assert filter_rules() == rules


def test_what_a_node_printed_is_kept_when_the_start_fails(tool: ClusterTool) -> None:
    """An interrupted start keeps the logs of its nodes beside those of the components."""
    folder = tool.folder("kaito")
    starting = tool.start("up", "--nodes", "1")
    eventually("a kubelet runs", lambda: any(folder.glob("nodes/base-1/logs/kubelet.log")))
    starting.terminate()
    _, errors = starting.communicate(timeout=60)
    assert (starting.returncode, "interrupted" in errors) == (1, True)
    assert {"base-1/kubelet", API_SERVER} <= set(tool.ok("logs").split())
    assert [trace for trace in tool.traces("kaito") if not trace.startswith("file")] == []
    assert not Path(folder / "nodes").exists()
