"""Brings an image's archive into a node's containerd, where the kubelet finds it as if it had been pulled."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kaito_controller.providers.local import programs
from kaito_controller.providers.local.layout import CONTAINERD_SOCKET
from kaito_controller.providers.local.processes import ProcessId

_TIMEOUT_S = 600.0
"""Of an archive of 4 GiB on a disk that others use too."""

NAMESPACE = "k8s.io"
"""The namespace of containerd in which kubelets look."""


class ImageProblem(RuntimeError):  # noqa: N818 - named for what it is
    """An archive could not be imported: says which and why."""


def load(archive: Path, *, socket: str = CONTAINERD_SOCKET) -> None:
    """Import an OCI archive by the containerd that listens on `socket`. Raises `ImageProblem`."""
    command = ["ctr", "--address", socket, "--namespace", NAMESPACE, "images", "import", str(archive)]
    try:
        done = subprocess.run(
            command, timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            env={"PATH": programs.PATH},
        )  # fmt: skip
    except (subprocess.SubprocessError, OSError) as error:
        raise ImageProblem(f"image {archive} was not loaded: {error}") from error
    if done.returncode:
        raise ImageProblem(f"image {archive} was not loaded: {done.stderr.strip()[-400:]}")


def socket_of(process: ProcessId) -> str:
    """Where the containerd of a node is reached from outside, by the node's first process."""
    return f"/proc/{process.pid}/root{CONTAINERD_SOCKET}"
