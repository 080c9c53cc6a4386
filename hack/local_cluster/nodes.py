"""Real nodes of the local cluster: their network on the host, and the base nodes that no NodeClaim asks for."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kaito_controller.kube.timestamps import parse_timestamp
from kaito_controller.providers.local import host_network, image_import, images, machines, programs
from kaito_controller.providers.local.addresses import AddressPlan
from kaito_controller.providers.local.cluster import LocalCluster, owner_name
from kaito_controller.providers.local.machines import Machine, Machines
from kaito_controller.testing.programs import built
from local_cluster import binaries, dns
from local_cluster.kubectl import Kubectl, KubectlError
from local_cluster.problem import Problem

PAUSE_IMAGE = "kaito.local/pause:1"
_READY_S = 90
_LOOK_EVERY_S = 0.3
_NEVER = datetime.fromtimestamp(0, UTC)


def prepare_network(state_dir: Path) -> AddressPlan:
    """Make the cluster's bridge, or find it, and return its address plan; call it before the API server starts.

    The API server then listens on, and advertises, `plan.host_address`. Raises `Problem`.
    """
    reason = programs.problem()
    if reason:
        raise Problem(reason)
    try:
        return host_network.claim(owner_name(state_dir))
    except host_network.NetworkProblem as error:
        raise Problem(str(error)) from error


def pack_images(state_dir: Path) -> list[Path]:
    """Pack the images that every node loads, and return their archives."""
    return [_pack(state_dir, PAUSE_IMAGE, built("pause") / "pause")]


def up(cluster: LocalCluster, count: int, kubectl: Kubectl) -> list[Machine]:
    """Start base nodes `base-1` to `base-<count>`, those that do not run yet, and the cluster's DNS on them.

    Returns when the nodes are Ready and names resolve. Raises `Problem`.
    """
    version = (binaries.module("coredns").version or "v0").removeprefix("v")
    image = f"kaito.local/coredns:{version}"
    archive = _pack(cluster.state_dir, image, built("coredns") / "coredns")
    dns.apply(kubectl, cluster, image)
    started = [_start(cluster, f"base-{number}", [archive]) for number in range(1, count + 1)]
    _wait_ready(kubectl, started)
    return started


def load(cluster: LocalCluster, archive: Path) -> list[str]:
    """Import an image's archive on every node that runs, and return their names. Raises `Problem`."""
    running = [machine for machine in Machines(cluster=cluster).all() if machine.is_running]
    for machine in running:
        assert machine.process is not None  # noqa: S101 - it runs
        try:
            image_import.load(archive, socket=image_import.socket_of(machine.process))
        except image_import.ImageProblem as error:
            raise Problem(f"node {machine.spec.name}: {error}") from error
    return [machine.spec.name for machine in running]


def down(cluster: LocalCluster) -> None:
    """End all nodes of the cluster, those of NodeClaims too. Raises `Problem`."""
    release_network(cluster.state_dir)


def release_network(state_dir: Path) -> None:
    """Remove the cluster's bridge and whatever of its nodes is left, also after a crash. Raises `Problem`."""
    if not state_dir.exists():
        return
    try:
        machines.clear(state_dir)
    except (machines.MachineProblem, host_network.NetworkProblem, OSError) as error:
        raise Problem(f"the nodes in {state_dir} were not all removed: {error}") from error


def _start(cluster: LocalCluster, name: str, archives: Sequence[Path]) -> Machine:
    try:
        return Machines(cluster=cluster).start(
            name,
            provider_id=f"local:///{cluster.name}/{name}",
            labels={dns.BASE_NODE_LABEL: dns.BASE_NODE_VALUE},
            images=archives,
        )
    except (machines.MachineProblem, machines.MachineLimit, programs.MissingProgram) as error:
        raise Problem(str(error)) from error


def _wait_ready(kubectl: Kubectl, started: Sequence[Machine]) -> None:
    names = [f"node/{machine.spec.name}" for machine in started]
    deadline = time.monotonic() + _READY_S
    try:
        # A Node outlives its machine's crash and stays Ready for a while: only what this start said counts.
        while not _all_heard(kubectl, started) and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)
        dns.wait(kubectl, _READY_S)
        kubectl.run("wait", "--for=condition=Ready", *names, f"--timeout={_READY_S}s")
    except KubectlError as error:
        logs = " ".join(str(log.parent) for log in (machine.logs[0] for machine in started if machine.logs))
        raise Problem(
            f"the nodes did not become ready within {_READY_S} s ({error}): their logs are in {logs}"
        ) from error


def _all_heard(kubectl: Kubectl, started: Sequence[Machine]) -> bool:
    """Whether every machine's kubelet has written its Node's status since the machine started."""
    heard = {node["metadata"]["name"]: _last_heartbeat(node) for node in kubectl.get("nodes")["items"]}
    return all(heard.get(machine.spec.name, _NEVER) >= _started_at(machine) for machine in started)


def _last_heartbeat(node: dict[str, Any]) -> datetime:
    conditions = node.get("status", {}).get("conditions", [])
    ready: dict[str, Any] = next((condition for condition in conditions if condition["type"] == "Ready"), {})
    return parse_timestamp(ready["lastHeartbeatTime"]) if ready.get("lastHeartbeatTime") else _NEVER


def _started_at(machine: Machine) -> datetime:
    """When the machine's first process started, in whole seconds as Kubernetes writes times."""
    booted_s = next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if "btime" in line)
    ticks = machine.process.started if machine.process else 0
    return datetime.fromtimestamp(booted_s + ticks // os.sysconf("SC_CLK_TCK"), UTC)


def _pack(folder: Path, name: str, program: Path) -> Path:
    archive = folder / "images" / f"{name.rpartition('/')[2].replace(':', '-')}.tar"
    if not archive.exists():
        images.pack(images.Image(name=name, program=program, machine=os.uname().machine), archive)
    return archive
