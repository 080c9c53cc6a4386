"""How a checkpoint's numbers are packed, as an immutable value."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from attrs import field, frozen


class Part(StrEnum):
    """A part of a model that a quantised checkpoint packs or leaves as it is."""

    ATTENTION = "attention"
    STATE = "state"
    DENSE = "dense"
    EXPERTS = "experts"
    SHARED_EXPERTS = "shared_experts"
    ROUTER = "router"
    EMBEDDINGS = "embeddings"
    HEAD = "head"
    VISION = "vision"
    NORMS = "norms"


@frozen(kw_only=True)
class Quantisation:
    """The packing of a checkpoint: `method` as the engine names it, `bits` of one weight.

    One scale of `scale_bits` serves a group of `group_size` weights of a row, or a block of `block` rows and columns;
    without either, a row. `zero_points` says that each group has a packed zero point too. `unpacked` parts keep the
    checkpoint's dtype (embeddings, norms and routers always do).
    `bits_of_part` are those of parts that a mixed checkpoint packs otherwise; their scales are too few to count.
    `kv_cache_dtype` is what the checkpoint asks the cache to be kept in::

        quantisation: {method: mxfp4, bits: 4, group_size: 32, scale_bits: 8, unpacked: [attention, router, head]}
    """

    method: str
    bits: int
    group_size: int | None = None
    block: tuple[int, int] | None = None
    scale_bits: int = 16
    zero_points: bool = False
    unpacked: tuple[Part, ...] = ()
    bits_of_part: Mapping[Part, int] = field(factory=dict)
    kv_cache_dtype: str | None = None

    @property
    def bits_per_weight(self) -> float:
        """Bits of one packed weight with its share of the scales."""
        if self.block is not None:
            return self.bits + self.scale_bits / (self.block[0] * self.block[1])
        if self.group_size is None:
            return float(self.bits)
        return self.bits + (self.scale_bits + (self.bits if self.zero_points else 0)) / self.group_size
