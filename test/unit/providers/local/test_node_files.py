"""What a node's programs are told leaves the host alone and keeps strangers out."""

from __future__ import annotations

import json
import stat
import tomllib
from pathlib import Path

import pytest

from kaito_controller.providers.local import mounts, node_files, pki
from kaito_controller.providers.local.addresses import AddressPlan
from kaito_controller.providers.local.cluster import LocalCluster
from kaito_controller.providers.local.emulated_devices import device_status, is_missing
from kaito_controller.providers.local.machine_spec import MachineSpec, Taint

SPEC = MachineSpec(
    name="ws1",
    number=2,
    provider_id="local:///c/uid",
    claim_uid="uid",
    labels={"kaito.sh/workspace": "chat", "node-role.kubernetes.io/gpu": ""},
    taints=(Taint(key="sku", value="gpu", effect="NoSchedule"),),
    devices={"nvidia.com/gpu": 1},
)


@pytest.fixture
def cluster(tmp_path: Path) -> LocalCluster:
    return LocalCluster(
        name="c", server="https://127.0.0.1:7443", ca=pki.make_ca(tmp_path / "pki", "c"), bin_dir=Path("/programs"),
        state_dir=tmp_path, plan=AddressPlan.of_index(0), cluster_dns="10.160.0.10",
    )  # fmt: skip


@pytest.fixture
def config(cluster: LocalCluster, tmp_path: Path) -> Path:
    node_files.write(cluster, SPEC, tmp_path / "node")
    return tmp_path / "node" / "config"


def test_the_kubelet_lets_nobody_in_unknown(config: Path):
    """No anonymous caller, no read-only port; callers are authorised by the API server."""
    document = json.loads((config / "kubelet.json").read_text())
    assert (False, "Webhook", 0) == (
        document["authentication"]["anonymous"]["enabled"], document["authorization"]["mode"], document["readOnlyPort"],
    )  # fmt: skip


def test_the_kubelet_registers_with_id_and_taints(config: Path):
    """Provider ID and taints are there from the node's first moment."""
    document = json.loads((config / "kubelet.json").read_text())
    assert "local:///c/uid" == document["providerID"]
    assert [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}] == document["registerWithTaints"]


def test_labels_kept_from_kubelets_are_left_out(cluster: LocalCluster):
    """The kubelet is given the labels it may set, and no others."""
    command = node_files.commands(cluster, SPEC, cluster.plan.node(2))["kubelet"]
    assert "--node-labels=kaito.sh/workspace=chat" in command


def test_the_settings_of_the_machine_are_left_alone(config: Path):
    """kube-proxy does not touch connection tracking, the kubelet finds the sysctls it wants and must not write them."""
    proxy = json.loads((config / "kube-proxy.json").read_text())
    kubelet = json.loads((config / "kubelet.json").read_text())
    assert ({0}, True) == (
        {proxy["conntrack"]["maxPerCore"], proxy["conntrack"]["min"]}, kubelet["protectKernelDefaults"],
    )  # fmt: skip
    assert {"1", "0", "10"} <= set(mounts.KUBELET_SYSCTLS.values())


def test_every_peer_has_its_route(config: Path, cluster: LocalCluster):
    """A node knows the way to the pods of every node there may ever be, except its own."""
    start = json.loads((config / "start.json").read_text())
    assert {str(n.pod_cidr): str(n.address) for n in cluster.plan.nodes() if n.number != 2} == start["peers"]
    assert "https://10.160.64.1:7443" == start["server"]


def test_keys_and_kubeconfigs_are_private(config: Path):
    """What identifies the node is read by its owner alone."""
    secrets = [*config.glob("*.key"), *config.glob("*.kubeconfig")]
    assert 5 == len(secrets)
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in secrets}


@pytest.mark.parametrize(
    ("node", "missing"),
    [
        ({}, True),
        ({"status": {"capacity": {"nvidia.com/gpu": "8"}}}, True),
        ({"status": {"capacity": {"nvidia.com/gpu": "8"}, "allocatable": {"nvidia.com/gpu": "0"}}}, True),
        ({"status": device_status({"nvidia.com/gpu": 8})}, False),
    ],
)
def test_missing_devices_are_seen(node: dict[str, object], missing: bool):
    """A status without the devices, or with a kubelet's zero, is to be written again; a right one is left alone."""
    assert missing == is_missing(node, {"nvidia.com/gpu": 8})


def test_containerd_looks_for_registries_where_the_cluster_writes_them(config: Path, cluster: LocalCluster):
    """A registry that starts after the node is trusted without a restart: the folder is read at every pull."""
    document = tomllib.loads((config / "containerd.toml").read_text())
    registry = document["plugins"]["io.containerd.grpc.v1.cri"]["registry"]
    assert registry == {"config_path": str(cluster.registries_folder)}
