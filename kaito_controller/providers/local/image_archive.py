"""Writes an OCI image as an archive: a tar of an OCI image layout, which containerd and every registry tool reads.

Layers are files or bytes and are copied as they come, so an image may be larger than memory. The archive depends on its
input alone: written twice, it is the same to the byte, and so is the image's digest.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from attrs import field, frozen

from kaito_controller.providers.local import files

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@frozen(kw_only=True)
class Blob:
    """Content with its digest (`sha256:…`) and size in bytes; `content` is the bytes, or the file that holds them."""

    content: bytes | Path = field(repr=False)
    digest: str
    size: int

    @classmethod
    def of(cls, content: bytes | Path) -> Blob:
        """Digest bytes, or a file; raises OSError when the file cannot be read."""
        if isinstance(content, bytes):
            return cls(content=content, digest=f"sha256:{hashlib.sha256(content).hexdigest()}", size=len(content))
        with content.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return cls(content=content, digest=f"sha256:{digest}", size=content.stat().st_size)

    def open(self) -> IO[bytes]:
        """Open the content for reading."""
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")


@frozen(kw_only=True)
class ImageContent:
    """An image before it is written: its layers from the lowest up, uncompressed, and how it is run.

    `names` are full references with tag; `config` is the `config` part of an OCI image configuration; `machine` is
    `os.uname().machine`; `created` is RFC 3339, or empty to leave it out.
    """

    names: Sequence[str]
    machine: str
    config: Mapping[str, Any]
    layers: Sequence[Blob]
    created: str = ""
    annotations: Mapping[str, str] = field(factory=dict)


def write(image: ImageContent, archive: Path) -> str:
    """Write the archive, whole or not at all, and return the image's digest.

    Raises ValueError for a name without tag or a machine without an OCI name, OSError as the file system does.
    """
    config = Blob.of(_json(_configuration(image)))
    manifest = Blob.of(_json(_manifest(image, config)))
    blobs = {blob.digest: blob for blob in (*image.layers, config, manifest)}
    entries = {f"blobs/sha256/{digest.removeprefix('sha256:')}": blob for digest, blob in blobs.items()}
    entries["index.json"] = Blob.of(_json(_index(image, manifest)))
    entries["oci-layout"] = Blob.of(_LAYOUT)
    _write_whole(archive, entries)
    return manifest.digest


def architecture(machine: str) -> str:
    """The OCI name of a machine; raises ValueError when none is known."""
    if machine not in _ARCHITECTURES:
        raise ValueError(f"image: machine is {machine!r}, OCI names are known for {', '.join(_ARCHITECTURES)}")
    return _ARCHITECTURES[machine]


def _configuration(image: ImageContent) -> dict[str, Any]:
    return {
        **({"created": image.created} if image.created else {}),
        "architecture": architecture(image.machine),
        "os": "linux",
        "config": dict(image.config),
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in image.layers]},
    }


def _manifest(image: ImageContent, config: Blob) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(CONFIG, config),
        "layers": [_descriptor(LAYER, layer) for layer in image.layers],
        **({"annotations": dict(image.annotations)} if image.annotations else {}),
    }


def _index(image: ImageContent, manifest: Blob) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": _INDEX,
        "manifests": [{**_descriptor(MANIFEST, manifest), "annotations": _naming(name)} for name in image.names],
    }


def _naming(name: str) -> dict[str, str]:
    if ":" not in name.rpartition("/")[2]:
        raise ValueError(f"image {name}: the name has no tag, write it as {name}:1")
    return {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}


def _descriptor(media_type: str, blob: Blob) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": blob.digest, "size": blob.size}


def _write_whole(archive: Path, entries: Mapping[str, Blob]) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile(prefix=f".{archive.name}.", dir=archive.parent, delete=False) as stream:
        temporary = Path(stream.name)
        try:
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
                for name, blob in sorted(entries.items()):
                    entry = tarfile.TarInfo(name)
                    entry.size = blob.size
                    with blob.open() as content:
                        tar.addfile(entry, content)
            temporary.chmod(files.READABLE)
            temporary.replace(archive)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
