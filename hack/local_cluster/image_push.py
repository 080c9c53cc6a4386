"""Brings an image's archive into the cluster's registry, from where any node pulls it."""

from __future__ import annotations

import base64
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kaito_controller.providers.local import files, image_import, programs
from kaito_controller.providers.local.cluster import LocalCluster
from kaito_controller.providers.local.machines import Machines
from kaito_controller.testing.registry import USER, Registry
from local_cluster.problem import Problem
from local_cluster.registry import registry_of

_LIMIT_S: Final = 600.0
"""Of an archive of 4 GiB on a disk that others use too."""


def push(cluster: LocalCluster, archive: Path) -> str:
    """Push by the containerd of the first node, which keeps the image too; return the reference in the registry.

    Raises `Problem`.
    """
    running = [machine for machine in Machines(cluster=cluster).all() if machine.process is not None]
    if not running or running[0].process is None:
        raise Problem(f"the cluster {cluster.name!r} has no real nodes of ours: start some with hack/cluster up")
    socket, registry = image_import.socket_of(running[0].process), registry_of(cluster)
    name = name_in(archive)
    reference = f"{registry.host}/{name.rpartition('/')[2]}"
    try:
        image_import.load(archive, socket=socket)
        with _hosts(cluster, registry) as hosts:
            command: list[str | Path] = [
                *("ctr", "--address", socket, "--namespace", image_import.NAMESPACE, "images", "push"),
                *("--hosts-dir", hosts, reference, name),
            ]
            done = subprocess.run(
                command, timeout=_LIMIT_S, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                env={"PATH": programs.PATH},
            )  # fmt: skip
    except (image_import.ImageProblem, subprocess.SubprocessError, OSError) as error:
        raise Problem(f"image {archive} was not pushed: {error}") from error
    if done.returncode:
        raise Problem(f"image {archive} was not pushed: {done.stderr.strip()[-400:]}")
    return reference


@contextmanager
def _hosts(cluster: LocalCluster, registry: Registry) -> Iterator[Path]:
    """What nodes know of the registry, and its password, which an argument would show to everybody."""
    known = cluster.registries_folder / registry.host / "hosts.toml"
    pair = base64.b64encode(f"{USER}:{registry.password}".encode()).decode()
    header = f'[host."https://{registry.host}".header]\n  Authorization = "Basic {pair}"\n'
    with tempfile.TemporaryDirectory(prefix="kaito-push-") as folder:
        files.write(Path(folder) / registry.host / "hosts.toml", known.read_bytes() + header.encode())
        yield Path(folder)


def name_in(archive: Path) -> str:
    """The full name, with its tag, of the image that an OCI archive of ours holds."""
    with tarfile.open(archive) as tar:
        index = tar.extractfile("index.json")
        assert index is not None  # noqa: S101 - image_archive writes it
        (manifest,) = json.load(index)["manifests"]
    name: str = manifest["annotations"]["io.containerd.image.name"]
    return name
