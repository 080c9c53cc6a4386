"""A model in a folder of this machine, a hub's cache among them: works without any network."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

from kaito_controller.sources.errors import SourceError, Trouble, malformed, too_large
from kaito_controller.sources.wording import size_text

FILES: Final = 20_000
"""Entries of a folder that are looked at."""
CACHED: Final = "models--"
"""How folders of a hub's cache begin: models--ORG--NAME, with blobs/, refs/ and snapshots/COMMIT/ in it."""


@frozen(kw_only=True)
class FolderFiles:
    """The files of one folder. Links lead to files of the same folder, or of the same model in a hub's cache."""

    model_id: str
    revision: str
    source: str
    sizes: Mapping[str, int]
    path: Path

    async def whole(self, name: str, limit_bytes: int) -> bytes:
        """All of a file."""
        raw = await asyncio.to_thread(self._read, name, 0, limit_bytes + 1)
        if len(raw) > limit_bytes:
            raise too_large(f"{self.path / name}: is read up to {size_text(limit_bytes)}; it has more")
        return raw

    async def part(self, name: str, start: int, length: int) -> bytes:
        """That many bytes from there on."""
        return await asyncio.to_thread(self._read, name, start, length)

    def _read(self, name: str, start: int, length: int) -> bytes:
        try:
            with (self.path / name).open("rb") as file:
                file.seek(start)
                return file.read(length)
        except OSError as error:
            raise _unreadable(self.path / name, error) from error


async def open_folder(path: Path) -> FolderFiles:
    """The files of a folder, or of the snapshot that a hub's cache has of a model.

    Raises:
        SourceError: there is no such folder, or it cannot be read.
    """
    return await asyncio.to_thread(_opened, path)


def _opened(path: Path) -> FolderFiles:
    try:
        folder = _snapshot(path.expanduser())
        sizes = _sizes(folder)
    except OSError as error:
        raise _unreadable(path, error) from error
    return FolderFiles(
        model_id=str(path),
        revision=folder.name if _is_snapshot(folder) else "",
        source=f"folder {folder}",
        sizes=sizes,
        path=folder,
    )


def _snapshot(path: Path) -> Path:
    """The folder itself; for a model's folder in a hub's cache, the snapshot that its main branch names."""
    folder = path.resolve()
    if not (folder.name.startswith(CACHED) and (folder / "snapshots").is_dir()):
        return folder
    main = folder / "refs" / "main"
    if main.is_file():
        with main.open("rb") as file:
            commit = file.read(64).decode("ascii", "replace").strip()
        if commit.isalnum() and (folder / "snapshots" / commit).is_dir():
            return folder / "snapshots" / commit
    snapshots = sorted(entry for entry in (folder / "snapshots").iterdir() if entry.is_dir())
    if len(snapshots) == 1:
        return snapshots[0]
    found = f"found {len(snapshots)} snapshots and no refs/main that names one: name one of their folders"
    raise malformed(f"{folder}: a cached model must say which snapshot is meant; {found}")


def _is_snapshot(folder: Path) -> bool:
    return folder.parent.name == "snapshots" and folder.parent.parent.name.startswith(CACHED)


def _sizes(folder: Path) -> dict[str, int]:
    """Sizes of the regular files. A pipe or a device is none: to open one may never end."""
    home = folder.parent.parent if _is_snapshot(folder) else folder
    sizes = {}
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number >= FILES:
                raise too_large(f"{folder}: a model's folder has at most {FILES} entries; found more")
            size = _size(Path(entry.path), home)
            if size is not None:
                sizes[entry.name] = size
    return sizes


def _size(path: Path, home: Path) -> int | None:
    if path.is_symlink() and not path.resolve().is_relative_to(home):
        return None
    try:
        found = path.stat()
    except FileNotFoundError:
        # A link of a cache whose download was not finished.
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _unreadable(path: Path, error: OSError) -> SourceError:
    trouble = Trouble.DENIED if isinstance(error, PermissionError) else Trouble.MISSING
    return SourceError(trouble, f"{path}: must be a folder with a model's files; {error.strerror or error}")
