"""The mounts a node sees: its own /proc, /run and control groups, and its own folders at the standard places.

Everything happens in the node's private mount namespace, so nothing has to be undone. Folders that the host lacks
(/var/lib/kubelet) are made in a thin layer in memory above the host's /var/lib and /var/log, never on the host.
"""

from __future__ import annotations

import os
from pathlib import Path

from kaito_controller.providers.local import cgroups
from kaito_controller.providers.local.layout import DATA, INSIDE
from kaito_controller.providers.local.syscalls import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_REC,
    MS_SHARED,
    detach,
    mount,
)

_PLAIN = MS_NOSUID | MS_NODEV | MS_NOEXEC

BINDS = {
    "kubelet": "/var/lib/kubelet",
    "containerd": "/var/lib/containerd",
    "pods": "/var/log/pods",
}
"""Parts of the machine's folder, and where programs look for them."""

KUBELET_SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""Settings of the whole machine that a kubelet asks for; a node shows it these values and leaves the machine alone."""


def prepare(folder: Path) -> None:
    """Mount everything for the node whose folder this is; call it inside the node's own namespaces."""
    groups = cgroups.hierarchies()
    for kind, place in (("proc", "/proc"), ("sysfs", "/sys")):
        # What lies under a mount is still listed, and programs that look for control groups read the list.
        detach(place)
        mount(kind, place, kind, flags=_PLAIN)
    _control_groups(groups)
    # The folder is reached through a mount of its own before anything is laid over the trees it may be in.
    handle = os.open(folder, os.O_PATH)
    try:
        mount("tmpfs", "/run", "tmpfs", flags=MS_NOSUID | MS_NODEV, options="mode=755")
        INSIDE.mkdir()
        mount(f"/proc/self/fd/{handle}", str(INSIDE), flags=MS_BIND)
    finally:
        os.close(handle)
    for tree in ("/var/lib", "/var/log"):
        _layer(tree)
    for part, place in BINDS.items():
        (INSIDE / DATA / part).mkdir(parents=True, exist_ok=True, mode=0o755)
        Path(place).mkdir(exist_ok=True)
        mount(f"{INSIDE}/{DATA}/{part}", place, flags=MS_BIND)
    mount("none", "/var/lib/kubelet", flags=MS_SHARED | MS_REC)
    _mask_sysctls()


def _control_groups(groups: tuple[cgroups.Hierarchy, ...]) -> None:
    """Mount each hierarchy again: seen from the new control group namespace, its root is the node's own group."""
    versions = {group.kind for group in groups}
    if versions == {"cgroup2"}:
        mount("cgroup2", "/sys/fs/cgroup", "cgroup2", flags=_PLAIN)
    else:
        mount("tmpfs", "/sys/fs/cgroup", "tmpfs", flags=_PLAIN, options="mode=755")
        for group in groups:
            group.folder.mkdir(parents=True)
            options = "" if group.kind == "cgroup2" else group.controllers
            mount(group.kind, str(group.folder), group.kind, flags=_PLAIN, options=options)


def _layer(tree: str) -> None:
    layer = Path("/run/layers") / tree.strip("/").replace("/", "-")
    for part in ("upper", "work"):
        (layer / part).mkdir(parents=True)
    mount("overlay", tree, "overlay", options=f"lowerdir={tree},upperdir={layer}/upper,workdir={layer}/work")


def _mask_sysctls() -> None:
    shown = Path("/run/sysctl")
    shown.mkdir()
    for name, value in KUBELET_SYSCTLS.items():
        setting = Path("/proc/sys") / name
        if setting.exists():
            mask = shown / name.replace("/", ".")
            mask.write_text(f"{value}\n")
            mount(str(mask), str(setting), flags=MS_BIND)
