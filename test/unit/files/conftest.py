"""What the tests of files from elsewhere share: a clock that does not wait, and a registry on loopback."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from inference_server.files.oci.credentials import Credentials
from kaito_controller.testing.loopback import listening
from kaito_controller.testing.sources.registry import FakeRegistry
from kaito_controller.testing.threaded import InstantClock, threaded

Entries = Sequence[tuple[str, bytes | tarfile.TarInfo | None]]
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


def tar_of(entries: Entries) -> bytes:
    """An archive: a file for bytes, a folder for None, anything else as its header says."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in entries:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            if content is None:
                info.type = tarfile.DIRTYPE
            body = content if isinstance(content, bytes) else b""
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return stream.getvalue()


def link(target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    """The header of a link."""
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


class Served:
    """A registry, and images pushed to it as a test writes them."""

    def __init__(self, registry: FakeRegistry, url: str) -> None:
        self.registry = registry
        self.host = url.removeprefix("http://")

    def image(self, *layers: Entries, tag: str = "1", **more: Any) -> str:
        """Push an image with these layers and return its reference."""
        described = [self.registry.push_blob(gzip.compress(tar_of(layer), mtime=0), GZIP) for layer in layers]
        self.registry.push(tag, described, **more)
        return self.reference(tag)

    def reference(self, tag: str = "1") -> str:
        return f"{self.host}/any:{tag}"


@pytest.fixture
def served() -> Iterator[Served]:
    registry = FakeRegistry()
    with threaded(listening(registry.answer)) as url:
        yield Served(registry, url)


@pytest.fixture
def clock() -> InstantClock:
    return InstantClock()


@pytest.fixture
def secrets(tmp_path: Path) -> Callable[..., Credentials]:
    """Credentials of mounted Secrets, each with the auths of one user."""

    def made(*auths: Mapping[str, str], certificate: str = "") -> Credentials:
        folders = []
        for number, one in enumerate(auths):
            folder = tmp_path / "secrets" / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            pairs = {host: {"auth": base64.b64encode(pair.encode()).decode()} for host, pair in one.items()}
            (folder / ".dockerconfigjson").write_text(json.dumps({"auths": pairs}))
            if certificate:
                (folder / "ca.crt").write_text(certificate)
            folders.append(folder)
        return Credentials.of_folders(folders)

    return made


@pytest.fixture
def archive() -> Callable[[Entries], bytes]:
    return tar_of


@pytest.fixture
def linked() -> Callable[..., tarfile.TarInfo]:
    return link
