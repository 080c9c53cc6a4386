"""Tar archives from elsewhere, read as untrusted: one pass, bounded memory, nothing written here.

Python's tarfile keeps long names and sparse maps in memory at whatever length an archive says; here they are bounded.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final, Self

from inference_server.files.errors import FetchError, Kind

_EXTENSION_MAX_BYTES: Final = 2**20
_GLOBALS_MAX_BYTES: Final = 2**20
_BUFFER_BYTES: Final = 2**18
_EXTENSIONS: Final = frozenset(
    {
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    }
)

Unreadable: Final = (
    tarfile.TarError,
    zlib.error,
    EOFError,
    gzip.BadGzipFile,
    ValueError,
    OverflowError,
    RecursionError,
)
"""What broken archives end in; tarfile reads a header that describes the next one by recursion."""


class BoundedReader:
    """A stream that ends in `FetchError` (too_large) when more comes out of it than may."""

    def __init__(self, stream: IO[bytes], max_bytes: int, subject: str) -> None:
        """Read from a stream at most that much."""
        self._stream = stream
        self._left = max_bytes
        self._max = max_bytes
        self._subject = subject

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        chunk = self._stream.read(size if 0 <= size <= _BUFFER_BYTES else _BUFFER_BYTES)
        self._left -= len(chunk)
        if self._left < 0:
            raise FetchError(
                kind=Kind.TOO_LARGE,
                subject=self._subject,
                found=f"a layer unpacks to more than {self._max} bytes, which is how archives that fill disks look",
                remedy="pack only the files that are needed",
            )
        return chunk


class _BoundedInfo(tarfile.TarInfo):
    """A header that refuses what would be read into memory without bound."""

    def _proc_member(self, tar: tarfile.TarFile) -> Self | tarfile.TarInfo:
        if self.type in _EXTENSIONS and not 0 <= self.size <= _EXTENSION_MAX_BYTES:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a sparse file, which is not read")
        if self.type == tarfile.XGLTYPE and isinstance(tar, _BoundedTar):
            tar.take_global(self.size)
        return super()._proc_member(tar)  # type: ignore[misc, no-any-return]  # typeshed leaves it out

    def _refuse_sparse(self, *_: object) -> None:
        raise tarfile.ReadError("a sparse file, which is not read")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


class _BoundedTar(tarfile.TarFile):
    """An archive whose global headers together stay small."""

    tarinfo = _BoundedInfo
    global_bytes = 0

    def take_global(self, size: int) -> None:
        self.global_bytes += size
        if self.global_bytes > _GLOBALS_MAX_BYTES:
            raise tarfile.ReadError("more than a megabyte of global headers")


Archive = tarfile.TarFile


@contextmanager
def opened(stream: IO[bytes], *, is_gzip: bool, max_bytes: int, subject: str) -> Iterator[Archive]:
    """An archive to be read once from its start to its end; broken ones raise `FetchError` (corrupt) inside.

    `max_bytes` bounds what comes out of the decompressor, headers and padding included.
    """
    try:
        plain: IO[bytes] = gzip.GzipFile(fileobj=stream, mode="rb") if is_gzip else stream  # type: ignore[assignment]
        bounded = BoundedReader(plain, max_bytes, subject)
        with _BoundedTar.open(fileobj=bounded, mode="r|", bufsize=_BUFFER_BYTES, errorlevel=1) as tar:  # type: ignore[call-overload]
            yield tar
    except Unreadable as error:
        raise FetchError(
            kind=Kind.CORRUPT,
            subject=subject,
            found=f"a layer is no tar archive that can be read: {str(error)[:200]}",
            remedy="pack it anew with a common tool",
        ) from error


def members(tar: Archive) -> Iterator[tarfile.TarInfo]:
    """The entries in their order. They are not kept, so that a million empty files fill no memory."""
    while (member := tar.next()) is not None:
        yield member
        tar.members.clear()  # type: ignore[attr-defined]  # typeshed leaves it out
