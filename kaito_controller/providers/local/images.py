"""Packs a static program as an OCI image archive, so that containerd can run it without any registry.

The archive is a tar of an OCI image layout with one layer. It depends on its input alone: packed twice, it is the same
to the byte, and so is the image's digest.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from kaito_controller.providers.local import files

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_FOLDERS = ("dev", "etc", "proc", "sys", "tmp")


@frozen(kw_only=True)
class Image:
    """What an image holds: one program, placed at the root under its own name, and how it is run.

    `name` is a full reference with tag (`kaito.local/pause:1`); `machine` is `os.uname().machine`.
    """

    name: str
    program: Path
    machine: str
    arguments: Sequence[str] = ()
    user: str = "65534:65534"
    content: Mapping[str, bytes] = field(factory=dict)


def pack(image: Image, archive: Path) -> str:
    """Write the image's archive and return its digest (`sha256:…`).

    Raises ValueError for a name without tag or a machine without an OCI name, OSError as the file system does.
    """
    architecture = _ARCHITECTURES.get(image.machine)
    if architecture is None:
        known = ", ".join(_ARCHITECTURES)
        raise ValueError(f"image {image.name}: machine is {image.machine!r}, OCI names are known for {known}")
    if ":" not in image.name.rpartition("/")[2]:
        raise ValueError(f"image {image.name}: the name has no tag, write it as {image.name}:1")
    layer = _layer(image)
    config = _json(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Entrypoint": [f"/{image.program.name}", *image.arguments], "User": image.user, "Env": []},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, config),
            "layers": [_descriptor(_LAYER, layer)],
        }
    )
    annotations = {"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name}
    index = {
        "schemaVersion": 2,
        "mediaType": _INDEX,
        "manifests": [{**_descriptor(_MANIFEST, manifest), "annotations": annotations}],
    }
    entries = {f"blobs/sha256/{_digest(blob)[7:]}": blob for blob in (layer, config, manifest)}
    files.write(archive, _tar({**entries, "index.json": _json(index), "oci-layout": _LAYOUT}), mode=files.READABLE)
    return _digest(manifest)


def _layer(image: Image) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for folder in _FOLDERS:
            entry = tarfile.TarInfo(f"{folder}/")
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o1777 if folder == "tmp" else 0o755
            tar.addfile(entry)
        _add(tar, image.program.name, image.program.read_bytes(), 0o755)
        for name, content in sorted(image.content.items()):
            _add(tar, name, content, 0o644)
    return stream.getvalue()


def _tar(entries: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(entries.items()):
            _add(tar, name, content, 0o644)
    return stream.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = mode
    tar.addfile(entry, io.BytesIO(content))


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _json(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
