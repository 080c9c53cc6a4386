"""The folder that finished models lie in, which several pods of a node may share.

NAME/            a model's files, put there whole by a rename
.sealed/NAME     written after every file is on the disk: which files there are, and how large
.locks/NAME      held by who fetches it; says how far that is
.in-use/NAME     held (shared) by everybody whose engine reads it
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from inference_server.files.errors import FetchError, Kind
from inference_server.files.staging import leftovers_of

_SEALED: Final = ".sealed"
_LOCKS: Final = ".locks"
_IN_USE: Final = ".in-use"
_RECORD_MAX_BYTES: Final = 4 * 2**20
_PROGRESS_MAX_BYTES: Final = 4096


@define
class Store:
    """All of it. Locks are flock's: the kernel takes them back from a process that ends, however it ends."""

    root: Path
    _uses: dict[str, int] = field(init=False, factory=dict)

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            FetchError: there is no leave to write (disk_full).
        """
        try:
            for name in (_SEALED, _LOCKS, _IN_USE):
                (self.root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FetchError(
                kind=Kind.DISK_FULL,
                subject=str(self.root),
                found=f"cannot be written by user {os.getuid()}: {error.strerror}",
                remedy="give that user the folder or its group, or mount another volume",
            ) from error

    def finished(self, name: str) -> Path | None:
        """The folder of that name, when every file of it is there in full."""
        folder, record = self.root / name, self._record(name)
        if record is None or not folder.is_dir():
            return None
        return folder if _sizes(folder) == record["files"] else None

    def newest(self, prefix: str) -> tuple[Path, str] | None:
        """The folder sealed last of those whose source begins so, and its source; None when there is none."""
        found = []
        for path in (self.root / _SEALED).iterdir():
            record = self._record(path.name)
            source = record["source"] if record else ""
            if (source == prefix or source.startswith(f"{prefix}@")) and self.finished(path.name) is not None:
                found.append((path.stat().st_mtime_ns, path.name, source))
        if not found:
            return None
        _, name, source = max(found)
        return self.root / name, source

    def seal(self, name: str, source: str) -> None:
        """Put every byte of a folder on the disk, then say that it is whole: a rename alone outlives no power cut."""
        folder = self.root / name
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        text = json.dumps({"source": source, "files": _sizes(folder)}, sort_keys=True)
        _write_whole(self.root / _SEALED / name, text)

    @contextmanager
    def alone(self, name: str) -> Iterator[Path | None]:
        """Hold the right to fetch that folder; yields the file to tell the others in, or None when another holds it."""
        path = self.root / _LOCKS / name
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        try:
            yield path if _locked(number, fcntl.LOCK_EX) else None
        finally:
            os.close(number)

    def progress_of_other(self, name: str) -> tuple[int, int | None] | None:
        """How far the holder of `alone` says it is: bytes done, and of how many."""
        found = _json_of(self.root / _LOCKS / name, _PROGRESS_MAX_BYTES)
        done, total = (found.get("bytesDone"), found.get("bytesTotal")) if found else (None, None)
        if type(done) is not int:
            return None
        return done, total if type(total) is int else None

    def tell_progress(self, path: Path, bytes_done: int, bytes_total: int | None) -> None:
        """Say to those that wait how far it is."""
        text = json.dumps({"bytesDone": bytes_done, "bytesTotal": bytes_total})
        # Not by a rename: the lock is on this very file.
        path.write_text(text, encoding="utf-8")

    def use(self, name: str) -> None:
        """Keep the folder from being swept for as long as this process lives, or uses another."""
        for other in [one for one in self._uses if one != name]:
            os.close(self._uses.pop(other))
        if name in self._uses:
            return
        path = self.root / _IN_USE / name
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        os.utime(path)
        fcntl.flock(number, fcntl.LOCK_SH)
        self._uses[name] = number

    def close(self) -> None:
        """Give up every use."""
        while self._uses:
            os.close(self._uses.popitem()[1])

    def sweep(self, wanted_bytes: int, *, keep: str) -> int:
        """Remove what nobody uses, the longest unused first, until so many bytes are free; return those freed.

        That are models and what broken attempts left of one. A folder that no agent ever began here is nobody's to
        remove.
        """
        freed = 0
        for name in sorted(self._begun(), key=self._last_use):
            if freed >= wanted_bytes:
                break
            if name != keep:
                freed += self._removed(name)
        return freed

    def free_bytes(self) -> int:
        """What the disk has left for this user."""
        return shutil.disk_usage(self.root).free

    def _begun(self) -> set[str]:
        """What agents fetched, or tried to: who begins takes a lock, who ends well seals."""
        found = (path.name for part in (_LOCKS, _SEALED) for path in (self.root / part).iterdir())
        return {name for name in found if not name.startswith(".")}

    def _last_use(self, name: str) -> int:
        try:
            return (self.root / _IN_USE / name).stat().st_mtime_ns
        except OSError:
            return 0

    def _removed(self, name: str) -> int:
        folders = (self.root / name, *leftovers_of(self.root / name))
        number = os.open(self.root / _IN_USE / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        try:
            if not _locked(number, fcntl.LOCK_EX):
                return 0
            before = sum(sum(_sizes(folder).values()) for folder in folders)
            (self.root / _SEALED / name).unlink(missing_ok=True)
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)
            return before - sum(sum(_sizes(folder).values()) for folder in folders)
        finally:
            os.close(number)

    def _record(self, name: str) -> Mapping[str, Any] | None:
        """What is written of a sealed folder; None for anything that `seal` would not have written."""
        found = _json_of(self.root / _SEALED / name, _RECORD_MAX_BYTES)
        if found is None or not isinstance(found.get("source"), str) or not isinstance(found.get("files"), dict):
            return None
        return found if all(type(size) is int for size in found["files"].values()) else None


def _locked(number: int, how: int) -> bool:
    try:
        fcntl.flock(number, how | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return False
        raise
    return True


def _sizes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def _json_of(path: Path, max_bytes: int) -> Mapping[str, Any] | None:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(max_bytes))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _write_whole(path: Path, text: str) -> None:
    making = path.with_name(f".{path.name}.{os.getpid()}")
    with making.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    making.replace(path)
