"""Where things lie outside the checkout, and whether there is room for them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from local_cluster.problem import Problem

GIB = 1 << 30
REPOSITORY = Path(__file__).resolve().parents[2]


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of what is built once and shared by all checkouts: `KAITO_CACHE`, or kaito in the XDG cache."""
    return _named_or(environment, "KAITO_CACHE", "XDG_CACHE_HOME", ".cache")


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of what runs: `KAITO_STATE`, or kaito in the XDG state folder."""
    return _named_or(environment, "KAITO_STATE", "XDG_STATE_HOME", ".local/state")


def require_room(folder: Path, gibibytes: float, purpose: str, *, environment_variable: str = "KAITO_CACHE") -> None:
    """Raise a `Problem` when the file system of a folder has less free space than a step needs."""
    existing = next(candidate for candidate in (folder, *folder.parents) if candidate.exists())
    free = shutil.disk_usage(existing).free / GIB
    if free < gibibytes:
        raise Problem(
            f"{purpose} needs {gibibytes:g} GiB of free disk space and {existing} has {free:.1f} GiB: free some, "
            f"or point {environment_variable} to a folder on a larger disk"
        )


def _named_or(environment: Mapping[str, str], own: str, xdg: str, default: str) -> Path:
    if environment.get(own):
        return Path(environment[own]).absolute()
    base = environment.get(xdg) or str(Path(environment.get("HOME") or Path.home()) / default)
    return Path(base).absolute() / "kaito"
