"""An OCI archive as a container runtime reads it: manifest, configuration, and what its layers hold."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import IO, Any

from attrs import field, frozen


@frozen(kw_only=True)
class OpenImage:
    """An archive with one image; `members` are the entries of its layers, from the lowest layer up."""

    archive: Path
    manifest: dict[str, Any]
    config: dict[str, Any]
    members: list[tarfile.TarInfo] = field(repr=False)

    @classmethod
    def of(cls, archive: Path) -> OpenImage:
        """Read an archive."""
        with tarfile.open(archive) as tar:
            (entry,) = json.load(_blob(tar, "index.json"))["manifests"]
            manifest = json.load(_blob(tar, entry["digest"]))
            config = json.load(_blob(tar, manifest["config"]["digest"]))
            members: list[tarfile.TarInfo] = []
            for layer in manifest["layers"]:
                with tarfile.open(fileobj=_blob(tar, layer["digest"])) as content:
                    members += content.getmembers()
        return cls(archive=archive, manifest=manifest, config=config, members=members)

    def unpack(self, root: Path) -> None:
        """Lay the image's files below a folder. For images of our own: the layers are taken at their word."""
        with tarfile.open(self.archive) as tar:
            for layer in self.manifest["layers"]:
                with tarfile.open(fileobj=_blob(tar, layer["digest"])) as content:
                    content.extractall(root, filter="fully_trusted")  # noqa: S202


def _blob(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    stream = tar.extractfile(f"blobs/sha256/{name.removeprefix('sha256:')}" if ":" in name else name)
    assert stream is not None, f"{name} is no file"
    return stream
