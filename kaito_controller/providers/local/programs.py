"""The programs of the operating system that nodes are made of, and where they are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where nodes look for programs, whatever the PATH of who started them."""

PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "unshare": "util-linux",
    "setsid": "util-linux",
}
"""Each program that a node needs, with the Debian package that has it."""

CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))
CNI_PLUGINS = ("ptp", "host-local", "portmap", "loopback")


class MissingProgram(RuntimeError):  # noqa: N818 - named for what it is
    """Nodes cannot live here: says what is missing and what installs it."""


def cni_folder(folders: tuple[Path, ...] = CNI_FOLDERS) -> Path | None:
    """Return the first folder that holds every CNI plugin a node uses, or None."""
    return next((folder for folder in folders if all((folder / name).exists() for name in CNI_PLUGINS)), None)


def problem() -> str | None:
    """Return one sentence about what keeps this machine from carrying nodes, with the remedy, or None."""
    if os.geteuid() != 0:
        return "real nodes need root (namespaces, mounts, network links): run as root, or use simulated nodes (kwok)"
    missing = [name for name in PACKAGES if shutil.which(name, path=PATH) is None]
    packages = [PACKAGES[name] for name in missing]
    if cni_folder() is None:
        missing.append("the CNI plugins")
        packages.append("containernetworking-plugins")
    if missing:
        return f"real nodes need {', '.join(missing)}: apt-get install -y {' '.join(dict.fromkeys(packages))}"
    return None


def require() -> None:
    """Raise `MissingProgram` when this machine cannot carry nodes."""
    found = problem()
    if found:
        raise MissingProgram(found)
