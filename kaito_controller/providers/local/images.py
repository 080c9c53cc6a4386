"""Packs a static program as an OCI image archive of one layer, so that containerd can run it without any registry."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from kaito_controller.providers.local import image_archive
from kaito_controller.providers.local.image_archive import Blob, ImageContent

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
    entrypoint = [f"/{image.program.name}", *image.arguments]
    content = ImageContent(
        names=(image.name,),
        machine=image.machine,
        config={"Entrypoint": entrypoint, "User": image.user, "Env": []},
        layers=(Blob.of(_layer(image)),),
    )
    return image_archive.write(content, archive)


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


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = mode
    tar.addfile(entry, io.BytesIO(content))
