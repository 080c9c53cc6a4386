"""Where the programs of a cluster are: installed ones that the environment names, else those the checkout builds."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

_INSTALLED = frozenset({"etcd", "kube-apiserver", "kubectl"})
_BUILD = Path(__file__).resolve().parents[2] / "hack" / "binaries" / "build"


class ProgramMissing(Exception):  # noqa: N818 - said as a sentence
    """A program that is neither installed nor can be built."""


def program(name: str) -> Path:
    """Return the path of etcd, a Kubernetes component, kubectl or kwok.

    etcd, kube-apiserver and kubectl come from the folder in `KUBEBUILDER_ASSETS` when that is set; everything else, and
    everything when it is not, from `hack/binaries/build`, which builds it on first use. Raises `ProgramMissing`.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and name in _INSTALLED:
        path = Path(assets) / name
        if not os.access(path, os.X_OK):
            raise ProgramMissing(f"KUBEBUILDER_ASSETS is {assets}, which has no program {name}: correct or unset it")
        return path
    return built("kwok" if name == "kwok" else "kubernetes") / name


@functools.cache
def built(module: str) -> Path:
    """Return the folder of the programs of one Go module of hack/binaries, built when the cache has none."""
    if not _BUILD.exists():
        raise ProgramMissing(
            f"{module} is built by hack/binaries of a checkout, and this is an installed package: name a folder with "
            "etcd, kube-apiserver and kubectl in KUBEBUILDER_ASSETS"
        )
    done = subprocess.run([_BUILD, module], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise ProgramMissing(f"hack/binaries/build {module} failed: its last lines above say why")
    return Path(done.stdout.strip())
