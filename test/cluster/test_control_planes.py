"""Clusters without real nodes: side by side, restarted after a kill, and gone without a trace."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

from local_cluster.trial import ClusterTool

from kaito_controller.testing.control_plane import API_SERVER, ETCD, SCHEDULER
from kaito_controller.testing.eventually import eventually
from kaito_controller.testing.processes import Process, Processes
from kaito_controller.testing.programs import program


def kubectl(tool: ClusterTool, name: str, *arguments: str) -> str:
    kubeconfig = tool.ok("kubeconfig", "--name", name).strip()
    return subprocess.check_output([program("kubectl"), f"--kubeconfig={kubeconfig}", *arguments], text=True)


def test_two_stand_side_by_side_and_go_one_by_one(tool: ClusterTool) -> None:
    """Two clusters started at the same time share nothing; taking one down leaves the other, and then nothing."""
    pair = {name: tool.start("up", "--name", name, "--nodes", "0", "--kwok-nodes", "1") for name in ("one", "two")}
    for process in pair.values():
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors
    kubectl(tool, "one", "create", "namespace", "only-here")
    assert "only-here" not in kubectl(tool, "two", "get", "namespaces")
    assert "simulated-1   Ready" in tool.ok("status", "--name", "two")

    tool.ok("down", "--name", "one")
    assert tool.traces("one") == []
    assert json.loads(kubectl(tool, "two", "get", "node", "simulated-1", "--output=json"))["kind"] == "Node"
    tool.ok("down", "--name", "two")
    assert tool.traces("two") == []
    assert not tool.state.exists()


def test_up_again_keeps_what_runs_and_mends_what_does_not(tool: ClusterTool) -> None:
    """A second `up` finds the cluster; after a component was killed it makes the cluster anew."""
    tool.ok("up", "--nodes", "0")
    kubectl(tool, "kaito", "create", "namespace", "kept")
    tool.ok("up", "--nodes", "0", "--kwok-nodes", "2")
    assert "kept" in kubectl(tool, "kaito", "get", "namespaces")
    assert kubectl(tool, "kaito", "get", "nodes", "--output=name").split() == ["node/simulated-1", "node/simulated-2"]

    scheduler = Processes(tool.folder("kaito")).get(SCHEDULER)
    assert scheduler is not None
    os.kill(scheduler.pid, signal.SIGKILL)
    broken = tool("status")
    assert broken.returncode == 1
    assert f"{SCHEDULER}            DOWN" in broken.stdout
    tool.ok("up", "--nodes", "0")
    assert "DOWN" not in tool.ok("status")
    tool.ok("down")
    assert tool.traces("kaito") == []


def test_up_after_kill_9_in_the_middle_cleans_first(tool: ClusterTool) -> None:
    """A start that is killed with SIGKILL leaves processes; the next `up` ends them and succeeds."""
    first = tool.start("up", "--nodes", "0")
    left = wait_for_process(tool.folder("kaito"), API_SERVER)
    first.kill()
    first.communicate()
    assert left.alive
    tool.ok("up", "--nodes", "0")
    assert not left.alive
    assert json.loads(kubectl(tool, "kaito", "get", "--raw=/version"))["gitVersion"] == "v1.37.2"
    tool.ok("down")
    assert tool.traces("kaito") == []


def test_down_after_kill_9_of_everything_leaves_nothing(tool: ClusterTool) -> None:
    """When every component was killed, and the records are lost as well, `down` still leaves nothing."""
    tool.ok("up", "--nodes", "0")
    processes = Processes(tool.folder("kaito"))
    etcd = processes.get(ETCD)
    assert etcd is not None
    os.kill(etcd.pid, signal.SIGKILL)
    for record in (tool.folder("kaito") / "processes").iterdir():
        record.unlink()
    tool.ok("down")
    assert tool.traces("kaito") == []
    assert "nothing to do" in tool("down").stderr


def test_an_interrupted_start_undoes_itself(tool: ClusterTool) -> None:
    """SIGTERM in the middle of a start ends what was started; only logs are kept, until `down`."""
    starting = tool.start("up", "--nodes", "0")
    started = wait_for_process(tool.folder("kaito"), API_SERVER)
    starting.terminate()
    _, errors = starting.communicate(timeout=60)
    assert starting.returncode == 1
    assert "interrupted" in errors
    assert not started.alive
    assert [path.name for path in tool.folder("kaito").iterdir()] == ["logs"]
    tool.ok("down")
    assert not tool.state.exists()


def test_a_taken_port_is_said_in_one_sentence(tool: ClusterTool) -> None:
    """The port is named, and the remedy; nothing was started."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused = tool("up", "--nodes", "0", "--port", str(port))
    assert refused.returncode == 1
    said = refused.stderr.strip().splitlines()[-1]
    assert said == (
        f"hack/cluster up: port {port} of 127.0.0.1 is taken: stop what listens there, or choose another port"
    )
    assert "Traceback" not in refused.stderr
    assert not any("process" in trace for trace in tool.traces("kaito"))


def test_somebodys_own_cluster_is_used_and_left_alone(tool: ClusterTool, tmp_path: Path) -> None:
    """`--kubeconfig` takes a cluster under a name; `down` forgets it and does not touch it."""
    tool.ok("up", "--name", "theirs", "--nodes", "0")
    theirs = tool.ok("kubeconfig", "--name", "theirs").strip()
    tool.ok("up", "--name", "mine", "--kubeconfig", theirs)
    assert tool.ok("kubeconfig", "--name", "mine").strip() == theirs
    tool.ok("status", "--name", "mine")
    tool.ok("down", "--name", "mine")
    assert "default" in kubectl(tool, "theirs", "get", "namespaces")
    wrong = tool("up", "--name", "mine", "--kubeconfig", str(tmp_path / "none"))
    assert (wrong.returncode, "there is no file" in wrong.stderr) == (1, True)
    tool.ok("down", "--name", "theirs")


def test_what_is_not_there_is_said(tool: ClusterTool) -> None:
    """Unknown clusters and impossible names get a sentence that says what there is, and leave no folder."""
    absent = tool("status", "--name", "absent")
    assert absent.stderr.strip() == "hack/cluster status: there is no cluster 'absent': start one with hack/cluster up"
    assert "is no name for a cluster" in tool("up", "--name", "../x").stderr
    assert not tool.state.exists()


def test_a_registry_is_started_again_where_it_was_and_goes_with_its_cluster(tool: ClusterTool) -> None:
    """Its address is kept when it was killed, and `down` leaves nothing of it."""
    tool.ok("up", "--nodes", "0", "--registry")
    folder = tool.folder("kaito")
    told = json.loads((folder / "cluster.json").read_text())["registry"]
    assert json.loads(Path(told["secret"]).read_text())["type"] == "kubernetes.io/dockerconfigjson"
    first = wait_for_process(folder, "registry")
    os.kill(first.pid, signal.SIGKILL)
    eventually("the registry is gone", lambda: not first.alive)
    assert tool.ok("registry").strip() == told["address"]
    assert "registry" in tool.ok("logs").split()
    tool.ok("down")
    assert tool.traces("kaito") == []


def wait_for_process(folder: Path, name: str) -> Process:
    """Return the process of a component as soon as there is one."""
    eventually(f"{name} runs", lambda: Processes(folder).get(name) is not None)
    process = Processes(folder).get(name)
    assert process is not None
    return process
