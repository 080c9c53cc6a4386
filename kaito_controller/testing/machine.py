"""What a cluster could leave on the machine it ran on: processes, mounts, links, routes, iptables rules, cgroups."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from attrs import frozen

CLUSTER_PROGRAMS = frozenset(
    {
        "etcd",
        "kube-apiserver",
        "kube-controller",
        "kube-scheduler",
        "kubelet",
        "kube-proxy",
        "containerd",
        "containerd-shim",
        "coredns",
        "kwok",
        "pause",
    }
)
"""The programs of a cluster as the kernel names them: at most 15 characters."""


@frozen(kw_only=True)
class MachineState:
    """One look at the machine, in the initial namespaces."""

    programs: tuple[str, ...]
    mounts: frozenset[str]
    links: frozenset[str]
    routes: frozenset[str]
    iptables: frozenset[str]
    cgroups: frozenset[str]

    @classmethod
    def read(cls) -> MachineState:
        """Look now."""
        return cls(
            programs=tuple(sorted(_programs())),
            mounts=frozenset(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
            links=frozenset(link["ifname"] for link in _ip("link")),
            routes=frozenset(f"{route['dst']} dev {route.get('dev')}" for route in _ip("route")),
            iptables=_iptables(),
            cgroups=frozenset(str(path) for path in Path("/sys/fs/cgroup").glob("*/kaito/**/")),
        )

    def count(self, program: str) -> int:
        """How many processes of that program run."""
        return self.programs.count(program)

    def added_since(self, before: MachineState) -> dict[str, list[str]]:
        """What is here now and was not there ``before``, by kind; empty when nothing was left."""
        kinds = ("mounts", "links", "routes", "iptables", "cgroups")
        added = {kind: sorted(getattr(self, kind) - getattr(before, kind)) for kind in kinds}
        added["programs"] = sorted(
            program for program in CLUSTER_PROGRAMS if self.count(program) > before.count(program)
        )
        return {kind: found for kind, found in added.items() if found}


def _programs() -> list[str]:
    names = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                names.append((process / "comm").read_text().strip())
            except OSError:
                continue  # it ended between the listing and the read
    return names


def _ip(thing: str) -> list[dict[str, str]]:
    if shutil.which("ip") is None:
        return []
    found: list[dict[str, str]] = json.loads(subprocess.check_output(["ip", "-json", thing]))
    return found


def _iptables() -> frozenset[str]:
    if shutil.which("iptables-save") is None:
        return frozenset()
    saved = subprocess.check_output(["iptables-save"], text=True)
    return frozenset(line for line in saved.splitlines() if line and not line.startswith(("#", ":")))
