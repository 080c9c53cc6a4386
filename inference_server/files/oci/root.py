"""The files of an image: its layers applied in order to a folder, or to the one subfolder of it that is wanted.

Whiteouts as in the OCI image specification v1.1, layer.md. Everything is refused that would reach outside: absolute
and `..` paths, links that lead out, devices. What comes out are plain files (0644) in plain folders (0755).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from attrs import define, field, frozen

from inference_server.files import archive, disk
from inference_server.files.errors import FetchError, Kind
from inference_server.files.limits import Limits
from inference_server.files.oci.manifest import Descriptor, Form

_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
_SLACK_BYTES: Final = 2**20
_CHUNK_BYTES: Final = 2**20
_MAX_DEPTH: Final = 64
_MAX_PATH_BYTES: Final = 3000
_FILE_MODE: Final = 0o644
_FOLDER_MODE: Final = 0o755


@frozen
class _Path:
    """A path of an archive, judged and cut into its parts; none for the root itself."""

    parts: tuple[str, ...]

    @property
    def text(self) -> str:
        return "/".join(self.parts)


@define(kw_only=True)
class Root:
    """A folder that layers are applied to.

    Attributes:
        folder: where; empty at first, and nobody else writes to it.
        only: the subfolders whose files are wanted; none for all.
        limits: bounds of all layers together.
        subject: what messages call the image.
    """

    folder: Path
    only: tuple[str, ...]
    limits: Limits
    subject: str
    _bytes: int = field(init=False, default=0)
    _count: int = field(init=False, default=0)
    _new: set[tuple[str, ...]] = field(init=False, factory=set)
    _above_new: set[tuple[str, ...]] = field(init=False, factory=set)

    def apply(self, layer: Path, *, is_gzip: bool) -> None:
        """Put a layer, an archive, over what is there. Raises `FetchError`."""
        self._new, self._above_new = set(), set()
        bound = self.limits.max_bytes
        if is_gzip:
            bound = min(bound, layer.stat().st_size * self.limits.max_ratio + _SLACK_BYTES)
        with (
            disk.writing(self.subject),
            layer.open("rb") as stream,
            archive.opened(stream, is_gzip=is_gzip, max_bytes=bound, subject=self.subject) as tar,
        ):
            for member in archive.members(tar):
                self._member(tar, member)

    def has(self, layer: Descriptor) -> bool:
        """Whether a layer's titled file is there already, byte for byte. Raises `FetchError` for an unsafe title."""
        if layer.form is not Form.FILE:
            return False
        path = self.folder.joinpath(*self._judged(layer.title).parts)
        if not path.is_file() or path.is_symlink() or path.stat().st_size != layer.size:
            return False
        with path.open("rb") as stream:
            return layer.digest == f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"

    def place(self, title: str, content: Path) -> None:
        """Put one titled file there, by moving it. Raises `FetchError`."""
        path = self._judged(title)
        if not path.parts:
            raise self._unsafe(f"a layer has the title {title[:80]!r}, which is no file")
        with disk.writing(self.subject):
            self._take(content.stat().st_size)
            content.chmod(_FILE_MODE)
            content.rename(self._clear(path))

    def finish(self) -> None:
        """Put the files in the place of links to them; raises `FetchError` for links that lead out or nowhere."""
        root = self.folder.resolve()
        links = [path for path in self._walk() if path.is_symlink()]
        targets = {link: self._target(link, root) for link in links}
        with disk.writing(self.subject):
            for link, target in targets.items():
                link.unlink()
                os.link(target, link)

    def _walk(self) -> list[Path]:
        return [Path(parent, name) for parent, folders, names in os.walk(self.folder) for name in [*folders, *names]]

    def _target(self, link: Path, root: Path) -> Path:
        name = link.relative_to(self.folder)
        try:
            target = link.resolve(strict=True)
        except (OSError, RuntimeError):
            raise self._unsafe(f"{str(name)[:200]!r} is a link to nothing") from None
        if not target.is_relative_to(root):
            raise self._unsafe(f"{str(name)[:200]!r} is a link that leads out of its folder")
        if not target.is_file():
            raise self._unsafe(f"{str(name)[:200]!r} is a link to something that is no file")
        return target

    def _member(self, tar: archive.Archive, member: tarfile.TarInfo) -> None:
        path = self._judged(member.name)
        if not self._is_wanted(path):
            return
        name = path.parts[-1] if path.parts else ""
        if name == _OPAQUE:
            self._make_opaque(path.parts[:-1])
        elif name.startswith(_WHITEOUT):
            self._white_out(_Path((*path.parts[:-1], name.removeprefix(_WHITEOUT))))
        elif member.isdir():
            self._folder(path)
        elif member.isreg():
            self._file(path, member.size, tar.extractfile(member))
        elif member.issym():
            self._symlink(path, member.linkname)
        elif member.islnk():
            self._hardlink(path, member.linkname)
        else:
            raise self._unsafe(f"{path.text[:200]!r} is a device or a pipe")

    def _judged(self, name: str) -> _Path:
        encoded = name.encode(errors="surrogateescape")
        if name.startswith("/") or "\0" in name or len(encoded) > _MAX_PATH_BYTES:
            raise self._unsafe(f"the path {name[:200]!r} is absolute or malformed")
        parts = tuple(part for part in name.split("/") if part not in {"", "."})
        if ".." in parts or len(parts) > _MAX_DEPTH:
            raise self._unsafe(f"the path {name[:200]!r} leads out of its folder, or is too deep")
        return _Path(parts)

    def _is_wanted(self, path: _Path) -> bool:
        if not self.only:
            return True
        # The whiteout of the wanted folder itself counts, too, and so does one of everything.
        first = path.parts[0] if path.parts else ""
        return first in {*self.only, *(f"{_WHITEOUT}{one}" for one in self.only), _OPAQUE}

    def _folder(self, path: _Path) -> None:
        target = self._parents(path)
        if not _is_folder(target):
            _remove(target)
            self._take(0)
            target.mkdir(mode=_FOLDER_MODE)
            target.chmod(_FOLDER_MODE)
        self._brought(path)

    def _file(self, path: _Path, size: int, content: IO[bytes] | None) -> None:
        self._take(size)
        target = self._clear(path)
        disk.require_room(self.folder, size, self.subject)
        # The name is free and its parents are folders of ours: O_EXCL only makes sure.
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _FILE_MODE)
        with os.fdopen(descriptor, "wb") as file:
            if content is not None:
                shutil.copyfileobj(content, file, _CHUNK_BYTES)
            if file.tell() != size:
                raise tarfile.ReadError(f"{path.text[:200]} ends early")
        target.chmod(_FILE_MODE)

    def _symlink(self, path: _Path, linked: str) -> None:
        if linked.startswith("/") or not linked or "\0" in linked or len(linked) > _MAX_PATH_BYTES:
            raise self._unsafe(f"{path.text[:200]!r} is a link to {linked[:200]!r}, which leads out of its folder")
        self._take(0)
        self._clear(path).symlink_to(linked)

    def _hardlink(self, path: _Path, linked: str) -> None:
        source = self._judged(linked)
        existing = self.folder.joinpath(*source.parts)
        if not self._is_wanted(source) or not self._reaches_plainly(source) or not _is_file(existing):
            raise self._unsafe(f"{path.text[:200]!r} is a link to {linked[:200]!r}, which is no file of its folder")
        if source == path:
            return
        self._take(0)
        target = self._clear(path)
        if not _is_file(existing):
            raise self._unsafe(f"{path.text[:200]!r} takes the place of what it links to")
        os.link(existing, target)

    def _white_out(self, path: _Path) -> None:
        if not path.parts or path.parts[-1] in {"", ".", ".."} or not self._reaches_plainly(path):
            return
        target = self.folder.joinpath(*path.parts)
        # It hides what lower layers have, never what its own layer brings.
        if path.parts not in self._new and path.parts not in self._above_new:
            _remove(target)
        elif _is_folder(target):
            self._make_opaque(path.parts)

    def _make_opaque(self, parts: tuple[str, ...]) -> None:
        target = self.folder.joinpath(*parts)
        if not self._reaches_plainly(_Path(parts)) or not _is_folder(target):
            return
        for entry in list(target.iterdir()):
            below = (*parts, entry.name)
            if below in self._above_new:
                self._make_opaque(below)
            elif below not in self._new:
                _remove(entry)

    def _reaches_plainly(self, path: _Path) -> bool:
        """Whether every parent is a folder, and none a link."""
        return all(_is_folder(self.folder.joinpath(*path.parts[:depth])) for depth in range(1, len(path.parts)))

    def _parents(self, path: _Path) -> Path:
        """The place of a path, after its parents are made: those that layers left out, or had as something else."""
        for depth in range(1, len(path.parts)):
            parent = self.folder.joinpath(*path.parts[:depth])
            if parent.is_symlink():
                raise self._unsafe(f"{path.text[:200]!r} lies behind a link")
            if not _is_folder(parent):
                _remove(parent)
                self._take(0)
                parent.mkdir(mode=_FOLDER_MODE)
                parent.chmod(_FOLDER_MODE)
        return self.folder.joinpath(*path.parts)

    def _clear(self, path: _Path) -> Path:
        if not path.parts:
            raise self._unsafe("a layer has something else in the place of its root")
        target = self._parents(path)
        _remove(target)
        self._brought(path)
        return target

    def _brought(self, path: _Path) -> None:
        self._new.add(path.parts)
        self._above_new.update(path.parts[:depth] for depth in range(len(path.parts)))

    def _take(self, size: int) -> None:
        self._count += 1
        self._bytes += max(size, 0)
        if self._count > self.limits.max_files:
            raise self._too_large(f"it has more than {self.limits.max_files} files")
        if self._bytes > self.limits.max_bytes:
            raise self._too_large(f"its files are more than {self.limits.max_bytes} bytes")

    def _too_large(self, found: str) -> FetchError:
        return FetchError(
            kind=Kind.TOO_LARGE, subject=self.subject, found=found, remedy="pack only the files that are needed"
        )

    def _unsafe(self, found: str) -> FetchError:
        remedy = "pack plain files and folders, and links only to files beside them"
        return FetchError(kind=Kind.UNSAFE, subject=self.subject, found=found, remedy=remedy)


def _is_folder(path: Path) -> bool:
    return _is(path, stat.S_ISDIR)


def _is_file(path: Path) -> bool:
    return _is(path, stat.S_ISREG)


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _remove(path: Path) -> None:
    if _is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
