"""A cluster with real nodes leaves the machine as it found it, also when its nodes were killed."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

from kaito_controller.testing.real_cluster import RealCluster, hack_cluster

SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/conf/all/route_localnet",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)


def host_settings() -> dict[str, str]:
    """Settings of the whole machine that programs of a node like to change."""
    settings = {name: (Path("/proc/sys") / name).read_text() for name in SYSCTLS}
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    settings["iptables"] = "\n".join(line for line in rules.splitlines() if not line.startswith("#"))
    return settings


def own_traces(cluster: RealCluster, bridge: str, group: str) -> dict[str, list[str]]:
    """What there is of one cluster on the machine; other clusters may stand beside it."""
    links = json.loads(subprocess.check_output(["ip", "-json", "link"]))
    routes = json.loads(subprocess.check_output(["ip", "-json", "route"]))
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    commands = [path.read_bytes().replace(b"\0", b" ").decode() for path in Path("/proc").glob("[0-9]*/cmdline")]
    return {
        "links": [link["ifname"] for link in links if link["ifname"].startswith(bridge)],
        "routes": [route["dst"] for route in routes if route.get("dev") == bridge],
        "mounts": [line for line in mounts if str(cluster.folder) in line],
        "groups": [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/kaito/{group}")],
        "processes": [command for command in commands if str(cluster.folder) in command],
        "files": [str(path) for path in cluster.folder.parent.glob("*")],
    }


def test_down_after_nodes_were_killed_leaves_nothing(cluster: RealCluster, tmp_path: Path):
    """Nodes killed with SIGKILL, then up, kill and down: links, routes, mounts, groups, processes and files are gone.

    The machine's own settings (iptables, sysctls) never change, not even while nodes run; and another cluster with real
    nodes stands beside it all the while.
    """
    before = host_settings()
    beside = cluster
    cluster = RealCluster(folder=tmp_path / "clusters" / "traces")
    try:
        hack_cluster(tmp_path, "up", "--name", "traces", "--nodes", "1")
        local = cluster.local
        assert not any(mine.overlaps(other) for mine in local.plan.networks for other in beside.local.plan.networks)
        assert before == host_settings()
        (first,) = cluster.machines.all()
        assert first.process is not None
        assert first.process.end(signal.SIGKILL, timeout_s=10)
        hack_cluster(tmp_path, "up", "--name", "traces", "--nodes", "1")
        (second,) = cluster.machines.all()
        assert second.is_running
        cluster.wait_ready("base-1")
        assert second.process is not None
        assert second.process.end(signal.SIGKILL, timeout_s=10)
    finally:
        hack_cluster(tmp_path, "down", "--name", "traces")
    assert before == host_settings()
    found = own_traces(cluster, local.plan.bridge, local.group)
    assert {kind: [] for kind in found} == found
    assert all(machine.is_running for machine in beside.machines.all())
    assert {"base-1": True, "base-2": True} == {name: beside.is_ready(name) for name in ("base-1", "base-2")}
