"""Pulls of large models: several folders of images, ModelPack's layers, and going on where an attempt broke off."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from inference_server.files import hub_files
from inference_server.files.errors import FetchError
from inference_server.files.limits import Limits
from inference_server.files.oci import image
from inference_server.files.oci.credentials import Credentials

RAW = "application/vnd.cncf.model.weight.v1.raw"
TITLE = "org.opencontainers.image.title"
PATH = "org.cncf.model.filepath"
NOBODY = Credentials.anonymous()


def titled(served: Any, files: dict[str, bytes], key: str = TITLE, media_type: str = RAW, tag: str = "1") -> str:
    layers = []
    for name, content in files.items():
        layers.append({**served.registry.push_blob(content, media_type), "annotations": {key: name}})
    served.registry.push(tag, layers)
    return str(served.reference(tag))


@pytest.mark.parametrize("folder", ["data", "models"])
def test_the_first_folder_that_an_image_has_counts(served: Any, clock: Any, tmp_path: Path, folder: str):
    """Model packers differ in where they put files."""
    reference = served.image([(f"{folder}/config.json", b"{}"), ("etc/passwd", b"root")])
    image.pull(reference, tmp_path / "m", credentials=NOBODY, subfolder=("data", "models"), clock=clock)

    assert [path.name for path in (tmp_path / "m").iterdir()] == ["config.json"]


def test_an_image_with_none_of_the_folders_is_told(served: Any, clock: Any, tmp_path: Path):
    """All that were looked for are named."""
    reference = served.image([("etc/passwd", b"root")])
    with pytest.raises(FetchError, match="no folder /data and no /models"):
        image.pull(reference, tmp_path / "m", credentials=NOBODY, subfolder=("data", "models"), clock=clock)


def test_model_pack_names_its_files_in_its_own_way(served: Any, clock: Any, tmp_path: Path):
    """The path of a raw layer is an annotation of its specification."""
    reference = titled(served, {"org/model.safetensors": b"weights"}, key=PATH)
    image.pull(reference, tmp_path / "m", credentials=NOBODY, clock=clock)

    assert (tmp_path / "m" / "org" / "model.safetensors").read_bytes() == b"weights"


def test_files_that_came_are_not_fetched_again(served: Any, clock: Any, tmp_path: Path):
    """The second file's blob is gone at first: the first file stays, and only the second is asked for then."""
    reference = titled(served, {"a.safetensors": b"a" * 1000, "b.safetensors": b"b" * 1000})
    lost = f"sha256:{hashlib.sha256(b'b' * 1000).hexdigest()}"
    content = served.registry.blobs.pop(lost)
    few = Limits(attempts=1)
    with pytest.raises(FetchError):
        image.pull(reference, tmp_path / "m", credentials=NOBODY, limits=few, clock=clock, resume=True)
    assert not (tmp_path / "m").exists()

    served.registry.blobs[lost] = content
    before, told = len(served.registry.asked), []
    image.pull(
        reference,
        tmp_path / "m",
        credentials=NOBODY,
        progress=lambda done, total: told.append((done, total)),
        clock=clock,
        resume=True,
    )

    asked = [path for path, _, _ in served.registry.asked[before:] if "/blobs/" in path]
    assert [path.rpartition("/")[2] for path in asked] == [lost]
    assert told[-1] == (2000, 2000)
    assert {path.name for path in (tmp_path / "m").iterdir()} == {"a.safetensors", "b.safetensors"}


def test_half_a_file_is_completed(served: Any, clock: Any, tmp_path: Path):
    """What a killed process left is the beginning; the digest of the whole is checked."""
    content = bytes(range(256)) * 40
    digest = hashlib.sha256(content).hexdigest()
    reference = titled(served, {"a.safetensors": content})
    scratch = tmp_path / ".m.fetching" / "scratch"
    scratch.mkdir(parents=True)
    (scratch / f"sha256-{digest}").write_bytes(content[:5000])
    seen: list[int] = []
    image.pull(
        reference,
        tmp_path / "m",
        credentials=NOBODY,
        progress=lambda done, _: seen.append(done),
        clock=clock,
        resume=True,
    )

    assert min(seen) > 5000
    assert (tmp_path / "m" / "a.safetensors").read_bytes() == content


def test_a_wrong_half_is_not_gone_on_with_for_ever(served: Any, clock: Any, tmp_path: Path):
    """Its digest cannot come out right, so it is thrown away and the next attempt begins anew."""
    content = b"c" * 10_000
    reference = titled(served, {"a.safetensors": content})
    scratch = tmp_path / ".m.fetching" / "scratch"
    scratch.mkdir(parents=True)
    (scratch / f"sha256-{hashlib.sha256(content).hexdigest()}").write_bytes(b"x" * 5000)
    with pytest.raises(FetchError, match="digest"):
        image.pull(reference, tmp_path / "m", credentials=NOBODY, clock=clock, resume=True)
    image.pull(reference, tmp_path / "m", credentials=NOBODY, clock=clock, resume=True)

    assert (tmp_path / "m" / "a.safetensors").read_bytes() == content


def test_layers_are_applied_from_the_first_again(served: Any, clock: Any, tmp_path: Path):
    """Half of an image's layers is no beginning of its files."""
    reference = served.image([("data/a", b"one"), ("data/b", b"old")], [("data/b", b"new")])
    stale = tmp_path / ".m.fetching" / "content" / "data"
    stale.mkdir(parents=True)
    (stale / "stale").write_bytes(b"")
    image.pull(reference, tmp_path / "m", credentials=NOBODY, clock=clock, resume=True)

    assert {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()} == {"a": b"one", "b": b"new"}


def test_programs_come_only_where_they_are_asked_for():
    """Nothing but the one pattern says that a model's code is trusted."""
    from huggingface_hub import RepoFile

    listed = [
        RepoFile(path=name, size=1, oid="0" * 40) for name in ("modeling.py", "setup.sh", "model.safetensors", "x.pt")
    ]
    safe, trusting = ("*.safetensors",), ("*.safetensors", "*.py")
    assert [one.path for one in hub_files.chosen(listed, safe, Limits(), "m")] == ["model.safetensors"]
    assert "modeling.py" in [one.path for one in hub_files.chosen(listed, trusting, Limits(), "m")]
    with pytest.raises(FetchError, match="program"):
        hub_files.chosen(listed, ("*.sh", "*.py"), Limits(), "m")
    with pytest.raises(FetchError, match="pickle"):
        hub_files.chosen(listed, ("*", "*.py"), Limits(), "m", keep=lambda _: ["x.pt"])
