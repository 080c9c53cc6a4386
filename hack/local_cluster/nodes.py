"""Real nodes of the local cluster: their network on the host, and the base nodes that no NodeClaim asks for."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import frozen

from kaito_controller.providers.local import host_network, images, machines, programs
from kaito_controller.providers.local.addresses import AddressPlan
from kaito_controller.providers.local.cluster import LocalCluster, owner_name
from kaito_controller.providers.local.machines import Machine, Machines
from local_cluster import binaries
from local_cluster.folders import cache_folder
from local_cluster.problem import Problem

BASE_NODE_LABEL = "kaito.local/role"
BASE_NODE_VALUE = "base"

PAUSE_IMAGE = "kaito.local/pause:1"


@frozen(kw_only=True)
class Images:
    """The archives that nodes load: the pause program on each, the DNS server where it may run."""

    pause: Path
    coredns: Path
    coredns_name: str


def problem() -> str | None:
    """Return why this machine cannot carry real nodes, with the remedy; None when it can."""
    return programs.problem()


def prepare_network(name: str, state_dir: Path) -> AddressPlan:
    """Make the cluster's bridge, or find it, and return its address plan; call it before the API server starts.

    The API server then listens on, and advertises, `plan.host_address`. Raises `Problem`.
    """
    reason = programs.problem()
    if reason:
        raise Problem(reason)
    try:
        return host_network.claim(owner_name(name, state_dir))
    except host_network.NetworkProblem as error:
        raise Problem(str(error)) from error


def pack_images(cache: Path | None = None) -> Images:
    """Pack the images that nodes load, once per build of their programs, and return their archives."""
    folder = cache or cache_folder()
    pause = binaries.build("pause", cache=folder) / "pause"
    coredns = binaries.build("coredns", cache=folder) / "coredns"
    version = (binaries.module("coredns").version or "v0").removeprefix("v")
    coredns_name = f"kaito.local/coredns:{version}"
    return Images(
        pause=_pack(folder, PAUSE_IMAGE, pause),
        coredns=_pack(folder, coredns_name, coredns),
        coredns_name=coredns_name,
    )


def up(cluster: LocalCluster, count: int, *, extra_images: tuple[Path, ...] = ()) -> list[Machine]:
    """Start base nodes `base-1` to `base-<count>`, those that do not run yet; they register within seconds.

    Raises `Problem`.
    """
    started = []
    for number in range(1, count + 1):
        name = f"base-{number}"
        try:
            machine = Machines(cluster=cluster).start(
                name,
                provider_id=f"local:///{cluster.name}/{name}",
                labels={BASE_NODE_LABEL: BASE_NODE_VALUE},
                images=extra_images,
            )
        except (machines.MachineProblem, machines.MachineLimit, programs.MissingProgram) as error:
            raise Problem(str(error)) from error
        started.append(machine)
    return started


def down(name: str, state_dir: Path) -> None:
    """End all nodes of the cluster, those of NodeClaims too, and remove its network; also after a crash.

    Raises `Problem`.
    """
    if not state_dir.exists():
        return
    try:
        machines.clear(name, state_dir)
    except (machines.MachineProblem, host_network.NetworkProblem, OSError) as error:
        raise Problem(f"the nodes of cluster {name} were not removed: {error}") from error


def _pack(cache: Path, name: str, program: Path) -> Path:
    archive = cache / "images" / f"{name.rpartition('/')[2].replace(':', '-')}-{program.parent.name}.tar"
    if not archive.exists():
        images.pack(images.Image(name=name, program=program, machine=os.uname().machine), archive)
    return archive
