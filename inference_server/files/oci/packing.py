"""Packs files as an image of one layer, always to the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from attrs import frozen

from inference_server import contract
from inference_server.files import disk
from inference_server.files.errors import FetchError, Kind
from inference_server.files.oci.manifest import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST

_LEVEL: Final = 1
"""Weights hardly get smaller, at whatever price."""
_CHUNK_BYTES: Final = 2**20


@frozen(kw_only=True)
class Packed:
    """An image: the file that is its layer, and its two documents."""

    layer: Path
    layer_digest: str
    layer_size: int
    config: bytes
    manifest: bytes

    @property
    def config_digest(self) -> str:
        """What the configuration is called by."""
        return digest_of(self.config)

    @property
    def digest(self) -> str:
        """What the image is called by."""
        return digest_of(self.manifest)


class _HashingFile:
    """Writes on, and knows the digest and the length of what went through."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> int:
        self._hash.update(chunk)
        self.size += len(chunk)
        self._file.write(chunk)
        return len(chunk)

    def flush(self) -> None:
        self._file.flush()

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def pack(folder: Path, names: Sequence[str], layer: Path, annotations: Mapping[str, str], subject: str) -> Packed:
    """Pack the named files of a folder below `data/`, with the layer written to `layer`.

    No time, owner or mode of the files goes into it. The platform is linux/amd64: containerd refuses images that name
    none, and who pulls data does not look. Raises `FetchError` (invalid, disk_full).
    """
    files = [(name, _checked(folder, name, subject)) for name in sorted(set(names))]
    if not files:
        raise FetchError(kind=Kind.INVALID, subject=subject, found="there is no file to push", remedy="name some")
    with disk.writing(subject), layer.open("wb") as raw:
        packed = _HashingFile(raw)
        with gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=packed, mtime=0) as compressed:
            plain = _HashingFile(compressed)
            with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
                _add_folders(tar, files)
                for name, path in files:
                    _add_file(tar, name, path)
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [plain.digest]},
        }
    )
    described = {"mediaType": OCI_LAYER_GZIP, "digest": packed.digest, "size": packed.size}
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": [described],
        **({"annotations": dict(annotations)} if annotations else {}),
    }
    return Packed(
        layer=layer,
        layer_digest=packed.digest,
        layer_size=packed.size,
        config=config,
        manifest=_json(manifest),
    )


def digest_of(content: bytes) -> str:
    """What content is called by."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _checked(folder: Path, name: str, subject: str) -> Path:
    path = folder / name
    fits = not Path(name).is_absolute() and ".." not in Path(name).parts
    if not fits or path.is_symlink() or not path.is_file():
        raise FetchError(
            kind=Kind.INVALID,
            subject=subject,
            found=f"{name[:200]!r} is no plain file of {folder}, so it is not pushed",
        )
    return path


def _add_folders(tar: tarfile.TarFile, files: Sequence[tuple[str, Path]]) -> None:
    parents = {str(parent) for name, _ in files for parent in Path(name).parents} - {"."}
    for name in (contract.IMAGE_DATA_DIRECTORY, *(f"{contract.IMAGE_DATA_DIRECTORY}/{one}" for one in sorted(parents))):
        entry = tarfile.TarInfo(f"{name}/")
        entry.type = tarfile.DIRTYPE
        entry.mode = 0o755
        tar.addfile(entry)


def _add_file(tar: tarfile.TarFile, name: str, path: Path) -> None:
    entry = tarfile.TarInfo(f"{contract.IMAGE_DATA_DIRECTORY}/{Path(name).as_posix()}")
    entry.mode = 0o644
    with path.open("rb") as content:
        entry.size = content.seek(0, 2)
        content.seek(0)
        tar.addfile(entry, content)


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
