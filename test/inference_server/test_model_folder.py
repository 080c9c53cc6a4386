from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from inference_server import contract
from inference_server.refusal import InputError
from inference_server.serve import model_folder

# Deeper than the parser goes.
DEEP = struct.pack("<Q", 200_000) + b"[" * 200_000


def weights(path: Path, size: int = 64, header: Any = None) -> None:
    """A file of the safetensors format with one tensor of that many bytes."""
    if header is None:
        header = {"__metadata__": {"format": "pt"}, "w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(size))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    weights(tmp_path / "model-1.safetensors")
    return tmp_path


def refusal(folder: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        model_folder.check(str(folder), None)
    assert caught.value.exit_code == contract.EXIT_MODEL
    return caught.value


def test_whole_weights_pass(folder: Path):
    model_folder.check(str(folder), None)
    model_folder.check("org/name-on-a-hub", None)


@pytest.mark.parametrize("lacking", [1, 64, 80, 10_000])
def test_weights_that_are_cut_off_are_told_before_the_engine_starts(folder: Path, lacking: int):
    """A download that ended early: in its tensors, in its header, or at once."""
    path = folder / "model-1.safetensors"
    raw = path.read_bytes()
    path.write_bytes(raw[: max(0, len(raw) - lacking)])
    found = refusal(folder)
    assert "model-1.safetensors" in found.field
    assert "fetch it again" in found.remedy


@pytest.mark.parametrize(
    "header", [[], {"w": {}}, {"w": {"data_offsets": "x"}}, {"w": {"data_offsets": [0, "64"]}}, "x"]
)
def test_a_header_of_another_form_is_refused(folder: Path, header: Any):
    """Weights are untrusted: what their header holds is looked at, never believed."""
    weights(folder / "model-1.safetensors", header=header)
    refusal(folder)


@pytest.mark.parametrize(
    "raw", [b"", b"\xff" * 200, struct.pack("<Q", 4) + b"{{{{", struct.pack("<Q", 2**40) + b"{}", DEEP]
)
def test_rubbish_is_refused(folder: Path, raw: bytes):
    """A page of an error message, or a length that would fill the memory."""
    (folder / "model-1.safetensors").write_bytes(raw)
    refusal(folder)


def test_a_file_that_the_index_names_must_be_there(folder: Path):
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / model_folder.INDEX).write_text(json.dumps(index))
    assert "all but model-2.safetensors" in refusal(folder).found
    weights(folder / "model-2.safetensors")
    model_folder.check(str(folder), None)
    for raw in ("[]", "[" * 200_000, " " * (model_folder.MAX_INDEX_BYTES + 1)):
        (folder / model_folder.INDEX).write_text(raw)
        assert model_folder.INDEX in refusal(folder).field


def test_another_load_format_is_the_engines_affair(folder: Path):
    """Whoever chose it reads other files: dummy weights need none."""
    (folder / "model-1.safetensors").write_bytes(b"")
    model_folder.check(str(folder), "dummy")
