"""One tensor of a checkpoint, as its file's header declares it. Sizes are bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import prod
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
EXPERT: Final = re.compile(r"(?<=experts\.)\d+(?=\.)")
"""An expert's number in a tensor's name, as Hugging Face's and Mistral's formats have it."""


@frozen(kw_only=True)
class Tensor:
    """A name, the dtype and shape it is stored in (dtype as safetensors spells it), and the bytes it takes there.

    With `count` above 1 it stands for that many experts of one layer, whose tensors are alike: the name has * for their
    numbers, and the other values are those of each.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    count: int = 1

    @property
    def numbers(self) -> int:
        """How many numbers one of them holds, as packed."""
        return prod(self.shape)

    @property
    def total_bytes(self) -> int:
        """The bytes of all that it stands for."""
        return self.bytes * self.count


def grouped(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """The tensors with those of a layer's experts counted instead of listed: some hundreds instead of 400,000."""
    found: dict[tuple[str, str, tuple[int, ...]], tuple[int, int]] = {}
    for tensor in tensors:
        key = (EXPERT.sub("*", tensor.name), tensor.dtype, tensor.shape)
        _, count = found.get(key, (0, 0))
        found[key] = (tensor.bytes, count + tensor.count)
    return tuple(
        Tensor(name=name, dtype=dtype, shape=shape, bytes=size, count=count)
        for (name, dtype, shape), (size, count) in found.items()
    )
