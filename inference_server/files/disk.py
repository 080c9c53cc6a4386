"""What the disk says no to, said as a FetchError."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from inference_server.files.errors import FetchError, Kind

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_CLOSED: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_RESERVE_BYTES: Final = 16 * 2**20


@contextmanager
def writing(subject: str) -> Iterator[None]:
    """Turn errors of the file system inside into `FetchError` (disk_full, or invalid for names that it refuses)."""
    try:
        yield
    except OSError as error:
        raise told_of(error, subject) from error


def require_room(folder: Path, wanted_bytes: int, subject: str) -> None:
    """Raise `FetchError` (disk_full) when a folder's file system has less room than that."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < wanted_bytes + _RESERVE_BYTES:
        raise FetchError(
            kind=Kind.DISK_FULL,
            subject=subject,
            found=f"it takes {wanted_bytes} bytes, and {folder} has {free_bytes} free",
            remedy="give the volume more room",
        )


def sync(folder: Path) -> None:
    """Bring every file below a folder to the disk, so that a name never outlives its content in a power cut."""
    for parent, _, names in os.walk(folder):
        for path in (Path(parent), *(Path(parent, name) for name in names)):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def told_of(error: OSError, subject: str) -> FetchError:
    """What an error of the file system means."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in _FULL:
        found, remedy = f"no room on the disk is left{where}", "give the volume more room"
    elif error.errno in _CLOSED:
        found, remedy = f"the folder may not be written to{where}", "mount it writable for the container's user"
    else:
        found, remedy = f"the file system refuses it: {os.strerror(error.errno or 0)}{where}", ""
        if error.errno in {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}:
            return FetchError(kind=Kind.INVALID, subject=subject, found=found, remedy="shorten the name")
    return FetchError(kind=Kind.DISK_FULL, subject=subject, found=found, remedy=remedy)
