"""The control groups of a cluster's nodes: `/kaito/<group>/<node>` in every hierarchy that the machine has.

Both layouts are served: one tmpfs with a folder per version 1 controller (and perhaps a version 2 one beside them),
or a single version 2 hierarchy.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import frozen

_MOUNTS = Path("/proc/self/mounts")
_ROOT = "kaito"
_TRIES = 5
_LENT = frozenset({"cpuset", "cpu", "io", "memory", "hugetlb", "pids"})
"""The version 2 controllers that a kubelet and its containers use."""

_GENERIC = frozenset({"rw", "ro", "relatime", "noatime", "nosuid", "nodev", "noexec", "xattr", "clone_children"})


@frozen(kw_only=True)
class Hierarchy:
    """One mounted control group hierarchy."""

    folder: Path
    kind: str
    options: str

    @property
    def controllers(self) -> str:
        """The options that say which version 1 hierarchy this is: its controllers, or its name."""
        words = [word for word in self.options.split(",") if word not in _GENERIC]
        chosen = [word for word in words if word.startswith("name=") or "=" not in word]
        return ",".join((["none"] if chosen and chosen[0].startswith("name=") else []) + chosen)


def hierarchies(mounts: Path = _MOUNTS) -> tuple[Hierarchy, ...]:
    """Return the control group hierarchies that are mounted, in the order of the mount table."""
    found = []
    for line in mounts.read_text().splitlines():
        _, folder, kind, options, *_ = line.split()
        if kind in {"cgroup", "cgroup2"}:
            found.append(Hierarchy(folder=Path(folder), kind=kind, options=options))
    return tuple(found)


def join(group: str, node: str) -> None:
    """Make the node's groups and move the calling process into them.

    The groups of the process's own hierarchy of origin are left behind, so limits somebody set on its parents (as a
    job's memory limit) no longer bind it: a node is as big as the machine.
    """
    for hierarchy in hierarchies():
        for attempt in range(_TRIES):
            try:
                _enter(hierarchy, (_ROOT, group, node))
            except FileNotFoundError:
                # Another cluster that ends may remove the common parent before our group is in it.
                if attempt == _TRIES - 1:
                    raise
            else:
                break


def enter_daemons() -> None:
    """Move the calling process into a group of its own below the node's, seen from inside the node.

    Groups of pods then stand beside the node's programs: version 2 lets no group have both processes and children with
    controllers.
    """
    for hierarchy in hierarchies():
        _enter(hierarchy, ("daemons",))
        if hierarchy.kind == "cgroup2":
            _delegate(hierarchy.folder)


def remove(group: str, node: str | None = None, *, timeout_s: float = 10.0) -> None:
    """Remove the groups of a node, or of all nodes of a cluster; parents go when nothing else is in them.

    Raises OSError when a group still has processes after `timeout_s`: they are ended before this is called, but the
    kernel empties a group only after it has buried the last of them.
    """
    deadline = time.monotonic() + timeout_s
    for hierarchy in hierarchies():
        top = hierarchy.folder / _ROOT
        target = top / group / node if node else top / group
        for folder in _deepest_first(target):
            _remove_empty(folder, deadline)
        for parent in (top / group, top):
            # Other nodes, or other clusters, may have theirs in it.
            with suppress(OSError):
                parent.rmdir()


def _enter(hierarchy: Hierarchy, path: Sequence[str]) -> None:
    folder = hierarchy.folder
    for part in path:
        # The groups above ours lend it their controllers; the root of a node's own namespace does so later, once empty.
        if hierarchy.kind == "cgroup2" and len(path) > 1:
            _delegate(folder)
        folder = folder / part
        folder.mkdir(exist_ok=True)
        _inherit_cpus(folder)
    (folder / "cgroup.procs").write_text("0")


def _deepest_first(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _deepest_first(entry)
    yield folder


def _remove_empty(folder: Path, deadline: float) -> None:
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _inherit_cpus(folder: Path) -> None:
    # A new version 1 cpuset is empty and takes no process until it is given processors and memory nodes.
    for name in ("cpuset.cpus", "cpuset.mems"):
        setting = folder / name
        if setting.exists() and (folder / "cgroup.clone_children").exists() and not setting.read_text().strip():
            setting.write_text((folder.parent / name).read_text())


def _delegate(folder: Path) -> None:
    available = (folder / "cgroup.controllers").read_text().split()
    control = folder / "cgroup.subtree_control"
    enabled = control.read_text().split()
    for name in available:
        if name in _LENT and name not in enabled:
            # One that cannot be lent here (the kernel has reasons) must not keep back the others.
            with suppress(OSError):
                control.write_text(f"+{name}")
