"""Which files of a repository are brought, and whether they are what the repository says."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from attrs import frozen
from huggingface_hub import RepoFile

from inference_server.files.errors import FetchError, Kind
from inference_server.files.limits import Limits

PICKLES: Final = frozenset(
    {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5", ".keras", ".msgpack"}
)
"""Formats that run code when they are read, or are read by libraries that may."""

PROGRAMS: Final = frozenset({".py", ".pyc", ".so", ".sh", ".exe", ".dll", ".whl", ".ipynb", ".jar"})

PROGRAM_PATTERNS: Final = ("*.py",)
"""Who asks with exactly this has decided to trust the model's programs, which are brought and not run."""

Keep = Callable[[Sequence[str]], Iterable[str]]
"""Which of a repository's files are needed, by their paths."""

_CHUNK_BYTES: Final = 2**20
_MAX_PATH_LENGTH: Final = 1000


@frozen(kw_only=True)
class HubFile:
    """One file of a repository.

    Attributes:
        path: with `/`.
        size: bytes.
        sha256: of its content, where it is kept as a large file.
        blob_id: git's name for its content, for the others.
    """

    path: str
    size: int
    sha256: str
    blob_id: str

    def agrees(self, content: Path) -> bool:
        """Whether a file on the disk has this content."""
        if content.stat().st_size != self.size:
            return False
        if self.sha256:
            return _hashed(content, hashlib.sha256()) == self.sha256
        # Git names a blob by the SHA-1 of its length and content. It guards against damage, not against forgers.
        blob = hashlib.sha1(f"blob {self.size}\0".encode(), usedforsecurity=False)
        return _hashed(content, blob) == self.blob_id


def chosen(
    listed: Iterable[object], patterns: Sequence[str], limits: Limits, subject: str, *, keep: Keep | None = None
) -> tuple[HubFile, ...]:
    """The files that patterns name, and of these those that `keep` leaves, judged before any of them is asked for.

    Raises `FetchError`: unsafe for pickles, programs and paths that lead out, too_large, not_found for none at all.
    """
    entries: dict[str, RepoFile] = {}
    for entry in listed:
        if isinstance(entry, RepoFile):
            entries[str(entry.path)] = entry
        if len(entries) > limits.max_files:
            raise FetchError(
                kind=Kind.TOO_LARGE, subject=subject, found=f"the repository has more than {limits.max_files} files"
            )
    # As huggingface_hub's allow_patterns: `*` matches folders, too.
    names = [name for name in entries if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    if keep is not None:
        needed = set(keep(names))
        names = [name for name in names if name in needed]
    for name in names:
        _judge(name, subject, programs=any(pattern in PROGRAM_PATTERNS for pattern in patterns))
    if not names:
        raise _nothing(entries, patterns, subject)
    files = tuple(_file(entries[name], subject) for name in sorted(names))
    total = sum(file.size for file in files)
    if total > limits.max_bytes:
        raise FetchError(
            kind=Kind.TOO_LARGE,
            subject=subject,
            found=f"its files are {total} bytes, and {limits.max_bytes} are taken at most",
        )
    return files


def _file(entry: RepoFile, subject: str) -> HubFile:
    size, sha256 = (entry.lfs.size, entry.lfs.sha256) if entry.lfs else (entry.size, "")
    if type(size) is not int or size < 0 or not isinstance(sha256, str) or not isinstance(entry.blob_id, str):
        raise FetchError(
            kind=Kind.CORRUPT, subject=subject, found=f"the hub lists {entry.path[:200]!r} without size or digest"
        )
    return HubFile(path=entry.path, size=size, sha256=sha256, blob_id=entry.blob_id)


def _judge(name: str, subject: str, *, programs: bool) -> None:
    path = PurePosixPath(name)
    leads_out = path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name
    if leads_out or len(name) > _MAX_PATH_LENGTH or path.parts[:1] == (".cache",):
        raise FetchError(
            kind=Kind.UNSAFE,
            subject=subject,
            found=f"the repository has a file {name[:200]!r}, which is not a safe name",
        )
    kind = "a pickle" if path.suffix.lower() in PICKLES else "a program"
    if path.suffix.lower() == ".py" and programs:
        return
    if path.suffix.lower() in PICKLES | PROGRAMS:
        raise FetchError(
            kind=Kind.UNSAFE,
            subject=subject,
            found=f"{name[:200]!r} is wanted, which is {kind}: reading it runs code of whoever made it",
            remedy="name safetensors and configuration files alone",
        )


def _nothing(entries: Iterable[str], patterns: Sequence[str], subject: str) -> FetchError:
    pickles = sorted(name for name in entries if PurePosixPath(name).suffix.lower() in PICKLES)
    if pickles and "*.safetensors" in patterns:
        return FetchError(
            kind=Kind.UNSAFE,
            subject=subject,
            found=f"it has pickles alone ({pickles[0][:100]!r}), and reading them runs code of whoever made them",
            remedy="use a revision with safetensors, or convert it",
        )
    wanted = ", ".join(patterns)[:200]
    return FetchError(
        kind=Kind.NOT_FOUND, subject=subject, found=f"it has no file of {wanted}", remedy="check its name"
    )


def _hashed(content: Path, digest: hashlib._Hash) -> str:
    with content.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
