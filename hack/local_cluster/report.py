"""Says in tables what a cluster is made of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kaito_controller.testing.control_plane import ControlPlane
from kaito_controller.testing.processes import Process
from local_cluster.kubectl import Kubectl, KubectlError
from local_cluster.state import ClusterState

_MIB = 1 << 20


def components(state: ClusterState, document: dict[str, Any]) -> str:
    """Return a table of the programs of a cluster: whether each runs, its process and memory, and its log."""
    processes = ControlPlane(folder=state.folder).processes
    names = list(dict.fromkeys([*document.get("components", ()), *processes.names()]))
    rows = []
    for name in names:
        process = processes.get(name)
        rows.append((name, "running" if process else "DOWN", *_figures(process), str(processes.log(name))))
    return table(("COMPONENT", "STATE", "PID", "MEMORY", "LOG"), rows)


def nodes(kubectl: Kubectl) -> str:
    """Return what kubectl says about the nodes, or why it cannot."""
    try:
        return kubectl.run("get", "nodes", "--output=wide") or "no nodes\n"
    except KubectlError as error:
        return f"{error}\n"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return text in columns, each as wide as its widest cell."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    padded = ["   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "".join(f"{line.rstrip()}\n" for line in padded)


def _figures(process: Process | None) -> tuple[str, str]:
    if process is None:
        return "-", "-"
    try:
        resident = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return str(process.pid), "-"
    return str(process.pid), f"{resident // _MIB} MiB"
