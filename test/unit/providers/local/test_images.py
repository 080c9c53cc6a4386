"""Images packed without any builder are whole, honest about their digests, and the same each time."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from kaito_controller.providers.local.images import Image, pack

PROGRAM = b"\x7fELF of a test"


@pytest.fixture
def image(tmp_path: Path) -> Image:
    program = tmp_path / "pause"
    program.write_bytes(PROGRAM)
    return Image(name="kaito.local/pause:1", program=program, machine="x86_64")


def contents(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]


def blob(entries: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    found = entries["blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")]
    assert descriptor["size"] == len(found)
    return found


def test_every_blob_is_named_by_its_digest(image: Image, tmp_path: Path):
    """A reader that checks digests, as containerd does, finds each blob to be what its name says."""
    pack(image, tmp_path / "image.tar")
    entries = contents(tmp_path / "image.tar")
    blobs = {name: data for name, data in entries.items() if name.startswith("blobs/")}
    assert 3 == len(blobs)
    assert {f"blobs/sha256/{hashlib.sha256(data).hexdigest()}" for data in blobs.values()} == set(blobs)


def test_the_index_leads_to_the_program(image: Image, tmp_path: Path):
    """From the index by way of manifest and config one gets to a layer with the program, executable, at the root."""
    digest = pack(image, tmp_path / "image.tar")
    entries = contents(tmp_path / "image.tar")
    (entry,) = json.loads(entries["index.json"])["manifests"]
    assert digest == entry["digest"]
    assert "kaito.local/pause:1" == entry["annotations"]["io.containerd.image.name"]
    manifest = json.loads(blob(entries, entry))
    config = json.loads(blob(entries, manifest["config"]))
    layer = blob(entries, manifest["layers"][0])
    assert [f"sha256:{hashlib.sha256(layer).hexdigest()}"] == config["rootfs"]["diff_ids"]
    assert (["/pause"], "amd64") == (config["config"]["Entrypoint"], config["architecture"])
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        program = tar.getmember("pause")
        stored = tar.extractfile(program)
        assert stored is not None
        assert (PROGRAM, 0o755) == (stored.read(), program.mode)


def test_packing_twice_gives_the_same_bytes(image: Image, tmp_path: Path):
    """Neither time nor owner of the files gets in, so a digest can be relied upon."""
    first = pack(image, tmp_path / "a.tar")
    image.program.touch()
    image.program.chmod(0o700)
    assert first == pack(image, tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


@pytest.mark.parametrize(
    ("name", "machine", "said"),
    [("kaito.local/pause", "x86_64", "has no tag"), ("kaito.local/pause:1", "sparc", "'sparc'")],
)
def test_what_cannot_be_packed_is_refused(image: Image, tmp_path: Path, name: str, machine: str, said: str):
    """A name without tag, or a processor without a name in the image format, is told, and nothing is written."""
    wrong = Image(name=name, program=image.program, machine=machine)
    with pytest.raises(ValueError, match=said):
        pack(wrong, tmp_path / "image.tar")
    assert not (tmp_path / "image.tar").exists()
