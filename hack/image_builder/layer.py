"""Writes a folder as an image layer that depends on nothing but the names and the content of what is in it.

Everything belongs to root and nothing carries a date; modes are 0755 for folders and programs and 0644 for the rest, so
no setuid program and no path that everybody may write to can come in. The exception is /tmp, with its sticky bit.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

_SHARED = frozenset({"tmp"})


def write(root: Path, target: Path) -> None:
    """Write everything under `root` to the tar file `target`."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in _walk(root):
            entry = _entry(root, path)
            if entry.isreg():
                with path.open("rb") as content:
                    tar.addfile(entry, content)
            else:
                tar.addfile(entry)


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)


def _entry(root: Path, path: Path) -> tarfile.TarInfo:
    name = str(path.relative_to(root))
    entry = tarfile.TarInfo(name)
    if path.is_symlink():
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, str(path.readlink()), 0o777
    elif path.is_dir():
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name in _SHARED else 0o755
    else:
        status = path.stat()
        entry.size, entry.mode = status.st_size, 0o755 if status.st_mode & 0o100 else 0o644
    return entry
