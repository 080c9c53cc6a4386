"""Where the files in an uncompressed tar are, from its headers alone: one hop from each to the next.

Formats: ustar, GNU (long names, sizes beyond 8 GiB) and pax, as container tools write them.
"""

from __future__ import annotations

import tarfile
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from attrs import define, field, frozen

from kaito_controller.sources.errors import SourceError, Trouble, malformed, too_large
from kaito_controller.sources.wording import shown

BLOCK: Final = 512
READ_AHEAD: Final = 16 * 2**10
"""Headers of small files lie close together: one request brings some thirty."""
MEMBERS: Final = 20_000
REQUESTS: Final = 2000
EXTENDED_LIMIT_BYTES: Final = 2**16
"""A long name, or the pax records of one file."""
DIGITS: Final = 19

Read = Callable[[int, int], Awaitable[bytes]]
"""Bytes from a start on, that many or up to the end."""


@frozen(kw_only=True)
class Member:
    """A regular file in an archive: where its bytes are."""

    path: str
    start: int
    size: int


async def members(read: Read, size: int, *, what: str) -> list[Member]:
    """The regular files of an archive of that many bytes.

    Raises:
        SourceError: it is no tar, has more files than are looked at, or cannot be read.
    """
    return await _Walk(read=read, size=size, what=what).all()


@define(kw_only=True)
class _Walk:
    read: Read
    size: int
    what: str
    _offset: int = field(init=False, default=0)
    _window: bytes = field(init=False, default=b"")
    _window_start: int = field(init=False, default=0)
    _requests: int = field(init=False, default=0)
    _renamed: dict[str, str] = field(init=False, factory=dict)

    async def all(self) -> list[Member]:
        found: list[Member] = []
        for _ in range(MEMBERS):
            block = await self._bytes(self._offset, BLOCK)
            if len(block) < BLOCK or not any(block):
                return found
            member = await self._next(self._header(block))
            if member is not None:
                found.append(member)
        raise too_large(f"{self.what}: archives of up to {MEMBERS} entries are read; it has more")

    async def _next(self, info: tarfile.TarInfo) -> Member | None:
        start = self._offset + BLOCK
        if info.type in {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME}:
            await self._rename(info, start)
            self._go_on(start, info.size)
            return None
        if info.type in {tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK}:
            self._go_on(start, info.size)
            return None
        renamed, self._renamed = self._renamed, {}
        if info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in renamed):
            raise SourceError(Trouble.UNSUPPORTED, f"{self.what}: must not hold sparse files; pack it without --sparse")
        size = self._declared(renamed.get("size"), info.size)
        # Links and devices have no data, whatever their headers say.
        self._go_on(start, size if info.isreg() else 0)
        path = renamed.get("path") or info.name
        return Member(path=path, start=start, size=size) if info.isreg() else None

    def _header(self, block: bytes) -> tarfile.TarInfo:
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError, OverflowError) as error:
            raise malformed(f"{self.what}: must be a tar archive; no header at byte {self._offset}") from error

    def _declared(self, pax: str | None, plain: int) -> int:
        if pax is None:
            return plain
        if not (pax.isascii() and pax.isdecimal() and len(pax) <= DIGITS):
            raise malformed(f"{self.what}: a pax size must be a number; found {shown(pax)}")
        return int(pax)

    def _go_on(self, start: int, size: int) -> None:
        if not 0 <= size <= self.size - start:
            raise malformed(f"{self.what}: a file must lie within its archive; one has {size} bytes of {self.size}")
        self._offset = start + -(-size // BLOCK) * BLOCK

    async def _rename(self, info: tarfile.TarInfo, start: int) -> None:
        if not 0 <= info.size <= EXTENDED_LIMIT_BYTES:
            raise malformed(f"{self.what}: a name has at most {EXTENDED_LIMIT_BYTES} bytes; found {info.size}")
        raw = await self._bytes(start, info.size)
        if info.type == tarfile.GNUTYPE_LONGNAME:
            self._renamed["path"] = raw.rstrip(b"\0").decode("utf-8", "surrogateescape")
        else:
            self._renamed |= _records(raw, self.what)

    async def _bytes(self, start: int, length: int) -> bytes:
        """Some bytes, out of what was read ahead when they are in it."""
        within = start - self._window_start
        if not (within >= 0 and within + length <= len(self._window)) and start < self.size:
            self._requests += 1
            if self._requests > REQUESTS:
                raise too_large(f"{self.what}: {REQUESTS} requests must do for one archive; it needs more")
            self._window = await self.read(start, min(max(length, READ_AHEAD), self.size - start))
            self._window_start, within = start, 0
        return self._window[within : within + length] if within >= 0 else b""


def _records(raw: bytes, what: str) -> Mapping[str, str]:
    """Pax records: LENGTH KEY=VALUE and a line's end, the length being that of all of it."""
    found: dict[str, str] = {}
    while raw:
        digits, space, _ = raw.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) <= DIGITS else 0
        record = raw[len(digits) + len(space) : length]
        key, equals, value = record.partition(b"=")
        if not equals or not record.endswith(b"\n") or length > len(raw):
            raise malformed(f"{what}: pax records must be LENGTH KEY=VALUE; found {shown(raw[:40].decode('latin-1'))}")
        found[key.decode("utf-8", "replace")] = value[:-1].decode("utf-8", "surrogateescape")
        raw = raw[length:]
    return found
