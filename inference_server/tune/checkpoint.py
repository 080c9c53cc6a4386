"""Checkpoints of one run: which are whole, and the newest of them.

The trainer writes a checkpoint file by file. A list of all files with their checksums, written last, tells a whole one
from one that an eviction cut short; a file that is not in the list makes it foreign.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

FOLDER: Final = ".checkpoints"
_LIST: Final = "whole.json"
# What would be unpickled when a checkpoint is gone on from; the trainer's own files are read with weights_only.
_PICKLES: Final = ("adapter_model.bin", "pytorch_model.bin")


def folder_of(output: Path, identity: str) -> Path:
    """Where a run keeps its checkpoints: those of another run, with other data or settings, are never gone on from."""
    return output / FOLDER / identity[:16]


def seal(checkpoint: Path) -> None:
    """Says that all of it has been written."""
    listed = {path.name: _digest(path) for path in sorted(checkpoint.iterdir()) if path.name != _LIST}
    making = checkpoint / f"{_LIST}.part"
    making.write_text(json.dumps(listed), encoding="utf-8")
    making.replace(checkpoint / _LIST)


def newest_whole(folder: Path) -> Path | None:
    """The whole checkpoint of the highest step; none where nothing can be gone on from."""
    return next((one for _, one in sorted(_numbered(folder), reverse=True) if _is_whole(one)), None)


def remove_broken(folder: Path) -> None:
    """Removes what an eviction cut short, so that the trainer's own pruning counts whole ones only."""
    for _, one in _numbered(folder):
        if not _is_whole(one):
            shutil.rmtree(one, ignore_errors=True)


def remove_all(folder: Path) -> None:
    """Removes the run's checkpoints: it is over."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.parent.rmdir()
    except OSError:
        # Another run keeps its own there, or there never were any.
        return


def _numbered(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in folder.glob("checkpoint-*") if folder.is_dir() else ():
        number = path.name.removeprefix("checkpoint-")
        if number.isdecimal() and path.is_dir() and not path.is_symlink():
            yield int(number), path


def _is_whole(checkpoint: Path) -> bool:
    try:
        listed = json.loads((checkpoint / _LIST).read_text(encoding="utf-8"))
        present = {path.name for path in checkpoint.iterdir()} - {_LIST}
        if not isinstance(listed, dict) or present != set(listed) or present & set(_PICKLES):
            return False
        return all(_digest(checkpoint / name) == digest for name, digest in listed.items())
    except (OSError, ValueError):
        return False


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
