"""One tensor of a checkpoint, as its file's header declares it. Sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

DTYPE_BITS: Final[Mapping[str, int]] = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
"""Bits of one element. Source: huggingface/safetensors, `Dtype::bitsize` in safetensors/src/tensor.rs, v0.8.0."""


@frozen(kw_only=True)
class Tensor:
    """A name, the dtype and shape it is stored in (dtype as safetensors spells it), and the bytes it takes there."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
