"""The header of a safetensors file, read as untrusted data: bounded, and held against the size of the file.

The format (github.com/huggingface/safetensors): 8 bytes of length, little-endian; that many bytes of JSON, name →
{dtype, shape, data_offsets}; then the data, which the offsets cover without holes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeGuard

from attrs import frozen

LENGTH_BYTES: Final = 8
# The header of a base model of a thousand layers has a few MiB; the library's own limit is 100 MB.
MAX_HEADER_BYTES: Final = 32 * 1024 * 1024
MAX_DIMENSIONS: Final = 8
# Bits of one number of the types that weights come in.
DTYPE_BITS: Final[Mapping[str, int]] = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32,
    "U16": 16, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "C64": 64, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
}  # fmt: skip


@frozen(kw_only=True)
class Tensor:
    """What the header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]


class TensorFileError(ValueError):
    """The file is no safetensors file, and why."""


def read_header(path: Path) -> Mapping[str, Tensor]:
    """Name → tensor. Raises TensorFileError for anything that is not well-formed, and OSError."""
    with path.open("rb") as file:
        file_bytes = path.stat().st_size
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        left = file_bytes - LENGTH_BYTES - length
        if not 0 < length <= MAX_HEADER_BYTES or left < 0:
            raise TensorFileError(f"its header would have {length} bytes, in a file of {file_bytes}")
        return parse_header(file.read(length), data_bytes=left)


def parse_header(header: bytes, *, data_bytes: int) -> Mapping[str, Tensor]:
    """The header's tensors, whose data lie one after the other over exactly `data_bytes`."""
    try:
        document = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise TensorFileError(f"its header is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise TensorFileError("its header is no JSON object")
    document.pop("__metadata__", None)
    found = sorted((_entry(name, info) for name, info in document.items()), key=lambda entry: entry[2:])
    end = 0
    for name, _, begins, ends in found:
        if begins != end:
            raise TensorFileError(f"{name!r} begins at byte {begins} and not where the one before ends, {end}")
        end = ends
    if end != data_bytes:
        raise TensorFileError(f"its tensors take {end} bytes and the file has {data_bytes} for them: cut off or padded")
    return {name: tensor for name, tensor, _, _ in found}


def _entry(name: str, info: Any) -> tuple[str, Tensor, int, int]:
    if not isinstance(info, dict):
        raise TensorFileError(f"{name!r} is described by no object")
    dtype, shape, offsets = info.get("dtype"), info.get("shape"), info.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise TensorFileError(f"{name!r} is of an unknown type")
    if not _is_counts(shape) or len(shape) > MAX_DIMENSIONS or not _is_counts(offsets) or len(offsets) != 2:  # noqa: PLR2004 (from and to)
        raise TensorFileError(f"{name!r} has no shape or no place in the file")
    begins, ends = offsets
    if (ends - begins) * 8 != math.prod(shape) * DTYPE_BITS[dtype]:
        raise TensorFileError(f"{name!r} has {ends - begins} bytes, which is not what its type and shape need")
    return name, Tensor(dtype=dtype, shape=tuple(shape)), begins, ends


def _is_counts(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(one) is int and 0 <= one < 2**53 for one in value)
