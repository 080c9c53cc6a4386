"""Our reader of safetensors headers and the library that the engine reads them with, on the same files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from random import Random
from typing import Any

from kaito_controller.catalog.tensor import DTYPE_BITS
from kaito_controller.sources.errors import SourceError
from kaito_controller.sources.safetensors import LENGTH_BYTES, header_length, parse_header
from kaito_controller.testing.sources.checkpoints import packed, safetensors

READ = """
import json, pathlib, sys
from safetensors import SafetensorError, deserialize
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        found = {name: [info["dtype"], info["shape"]] for name, info in deserialize(path.read_bytes())}
    except SafetensorError as error:
        found = None
    print(json.dumps(found))
"""
INFO = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
VALUES: list[Any] = [
    0,
    -1,
    1,
    2,
    24,
    25,
    48,
    2**63,
    2**70,
    1.5,
    "F32",
    "F16",
    "F4",
    "F9",
    None,
    True,
    [],
    [0, 24],
    [24, 48],
    {},
]


def ours(file: bytes) -> dict[str, list[Any]] | None:
    try:
        length = header_length(file[:LENGTH_BYTES], what="file", file_bytes=len(file))
        end = LENGTH_BYTES + length
        header = parse_header(file[LENGTH_BYTES:end], what="file", data_bytes=len(file) - end)
    except SourceError:
        return None
    return {tensor.name: [tensor.dtype, list(tensor.shape)] for tensor in header.tensors}


def theirs(python: Path, folder: Path, files: list[bytes]) -> list[dict[str, list[Any]] | None]:
    for number, file in enumerate(files):
        (folder / f"{number:04}").write_bytes(file)
    done = subprocess.run([python, "-c", READ, folder], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def changed(rng: Random) -> bytes:
    """A file of two tensors with one thing in its header that was something else."""
    header: dict[str, Any] = {"a": dict(INFO), "b": INFO | {"data_offsets": [24, 48]}}
    key = rng.choice(["dtype", "shape", "data_offsets"])
    if rng.random() < 0.5:
        header["b"][key] = rng.choice(VALUES)
    else:
        header["b"][key] = list(header["b"][key])
        header["b"][key][rng.randrange(len(header["b"][key]))] = rng.choice(VALUES)
    return packed(header, rng.choice([24, 47, 48, 49, 72]))


def test_every_dtype_of_the_library_is_one_of_ours(inference_python: Path, tmp_path: Path):
    """With the same size."""
    files = [safetensors({"a": (dtype, (4, 2))}, {"format": "pt"}) for dtype in sorted(DTYPE_BITS)]
    assert (
        theirs(inference_python, tmp_path, files)
        == [ours(file) for file in files]
        == [{"a": [dtype, [4, 2]]} for dtype in sorted(DTYPE_BITS)]
    )


def test_both_refuse_the_same_files(inference_python: Path, tmp_path: Path):
    """Among some hundred that were changed, and at the edges of the format."""
    rng = Random(5)
    files = [changed(rng) for _ in range(400)]
    files += [packed(b"{}", 0), packed(b"{}  ", 0), packed(b"{}", 1), b"", b"1234567", bytes(8), packed(b"[]", 0)]
    files += [packed({"a": INFO, "__metadata__": extra}, 24) for extra in ({}, {"a": "b"}, {"a": 1}, [], "x")]
    files += [packed({"a": INFO | {"more": 1}}, 24), (2**63).to_bytes(8, "little"), packed({"a": 1}, 0)]
    assert theirs(inference_python, tmp_path, files) == [ours(file) for file in files]
