"""What is recorded of machines and processes is read back, and never taken for somebody else's."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kaito_controller.providers.local import files
from kaito_controller.providers.local.addresses import NODES, AddressPlan
from kaito_controller.providers.local.cluster import BadClusterFile, LocalCluster, group_name
from kaito_controller.providers.local.machine_spec import FILE, MachineSpec, Taint, kubelet_may_set
from kaito_controller.providers.local.machines import Machines
from kaito_controller.providers.local.places import MachineLimit, free_number
from kaito_controller.providers.local.processes import ProcessId


def spec(number: int, claim_uid: str = "") -> MachineSpec:
    return MachineSpec(name=f"n{number}", number=number, provider_id=f"local:///c/{number}", claim_uid=claim_uid)


FULL = MachineSpec(
    name="ws1",
    number=3,
    provider_id="local:///c/uid",
    claim_uid="uid",
    labels={"a": "b"},
    taints=(Taint(key="sku", value="gpu", effect="NoSchedule"),),
    devices={"nvidia.com/gpu": 8},
    images=("/x.tar",),
    created_at="2026-01-02T03:04:05Z",
)


@pytest.fixture
def cluster_file(tmp_path: Path) -> Path:
    document = {
        "name": "c", "server": "https://127.0.0.1:7443", "ca_cert": "/ca.crt", "ca_key": "/ca.key", "bin_dir": "/bin",
        "state_dir": str(tmp_path), "cluster_dns": "10.160.0.10", "cluster_domain": "cluster.local", "images": [],
        "max_nodes": 2, **AddressPlan.of_index(0).document(),
    }  # fmt: skip
    return files.write_json(tmp_path / "cluster.json", document)


def test_a_machine_is_read_back(tmp_path: Path):
    """Every field of a machine's record survives the file."""
    FULL.save(tmp_path)
    assert MachineSpec.load(tmp_path) == FULL


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "x"}', '{"taints": 1}'])
def test_a_broken_record_is_no_machine(tmp_path: Path, content: str):
    """A record cut short by a crash is passed over, not stumbled over."""
    (tmp_path / FILE).write_text(content)
    assert MachineSpec.load(tmp_path) is None


def test_machines_are_found_by_folder(cluster_file: Path):
    """Machines come in the order of their numbers, running or not, and other files in the folder do not disturb."""
    cluster = LocalCluster.load(cluster_file)
    for number in (2, 1):
        spec(number).save(cluster.nodes_folder / f"n{number}")
    (cluster.nodes_folder / "stray").write_text("")
    (cluster.nodes_folder / "empty").mkdir()
    found = Machines(cluster=cluster).all()
    assert [("n1", False), ("n2", False)] == [(machine.spec.name, machine.is_running) for machine in found]


def test_the_lowest_free_number_is_taken():
    """Numbers of machines that went are used again."""
    assert 2 == free_number([spec(1), spec(3)], for_claim=True, limit=None)


def test_only_machines_of_claims_count_for_the_limit():
    """Base nodes are the cluster's own: a limit of one leaves room for one claim beside any number of them."""
    assert 3 == free_number([spec(1), spec(2)], for_claim=True, limit=1)
    with pytest.raises(MachineLimit) as refused:
        free_number([spec(1), spec(2, "uid")], for_claim=True, limit=1)
    assert "at most 1 nodes" in refused.value.message
    assert "(n2)" in refused.value.message
    assert "--local-max-nodes" in refused.value.remedy
    assert 3 == free_number([spec(1), spec(2, "uid")], for_claim=False, limit=1)


def test_a_full_address_plan_is_said():
    """When all numbers are taken, that is the message, whatever the limit."""
    with pytest.raises(MachineLimit, match=str(NODES)):
        free_number([spec(number) for number in range(1, NODES + 1)], for_claim=False, limit=None)


@pytest.mark.parametrize(
    ("label", "allowed"),
    [
        ("kaito.sh/workspace", True),
        ("apps", True),
        ("karpenter.sh/nodepool", True),
        ("karpenter.azure.com/sku-name", True),
        ("node.kubernetes.io/instance-type", True),
        ("topology.kubernetes.io/zone", True),
        ("node-role.kubernetes.io/gpu", False),
        ("node-restriction.kubernetes.io/x", False),
        ("kubernetes.io/anything", False),
        ("x.k8s.io/y", False),
    ],
)
def test_labels_that_a_kubelet_may_not_set_are_known(label: str, allowed: bool):
    """A kubelet that is told a label that NodeRestriction keeps from it does not start: those are left out."""
    assert allowed == kubelet_may_set(label)


def test_a_process_is_known_by_number_and_start():
    """The same number with another start is another process, and is never signalled."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        there = ProcessId.of(process.pid)
        assert there is not None
        assert there.is_alive()
        stranger = ProcessId(pid=there.pid, started=there.started + 1)
        assert not stranger.is_alive()
        assert stranger.end(signal.SIGKILL, timeout_s=5)
        assert there.is_alive()
        assert there.end(signal.SIGKILL, timeout_s=5)
        assert not there.is_alive()
        assert -signal.SIGKILL == process.wait()


def test_a_number_without_process_is_gone():
    """A number that nobody has is not alive, and ending it succeeds."""
    highest = int(Path("/proc/sys/kernel/pid_max").read_text())
    assert ProcessId.of(highest) is None
    assert ProcessId(pid=highest, started=1).end(signal.SIGTERM, timeout_s=1)


def test_a_cluster_is_read_with_its_way_from_nodes(cluster_file: Path):
    """Nodes do not have the host's loopback: they reach the API server over the bridge."""
    cluster = LocalCluster.load(cluster_file)
    assert ("https://10.160.64.1:7443", 2) == (cluster.server_from_nodes, cluster.max_nodes)


def test_clusters_of_one_name_in_two_folders_are_kept_apart():
    """Their control groups have two names."""
    assert 2 == len({group_name(Path(folder)) for folder in ("/a/kaito", "/b/kaito")})


@pytest.mark.parametrize(("content", "said"), [("{", "malformed"), ("{}", "lacks 'name'"), (None, "cannot be read")])
def test_a_cluster_file_that_does_not_do_is_told(tmp_path: Path, content: str | None, said: str):
    """Whatever is wrong with --local-cluster, the message names the file and the way out."""
    path = tmp_path / "cluster.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadClusterFile, match=said) as refused:
        LocalCluster.load(path)
    assert str(path) in str(refused.value)
    assert "hack/cluster" in str(refused.value)


def test_files_appear_whole_or_not_at_all(tmp_path: Path):
    """A write that fails leaves the old file and no other."""
    path = files.write(tmp_path / "x.json", b"old")
    with pytest.raises(TypeError):
        files.write_json(path, object())
    with pytest.raises(TypeError):
        files.write(path, "text")  # type: ignore[arg-type]
    assert (b"old", ["x.json"]) == (path.read_bytes(), [entry.name for entry in tmp_path.iterdir()])
    assert {"a": 1} == json.loads(files.write_json(path, {"a": 1}).read_text())
