"""Blocks, tokens and the longest context of an engine's KV cache, as the engine itself finds them.

After vLLM 0.32, v1/core/kv_cache_utils.py: get_kv_cache_configs, _estimate_max_model_len_from_groups,
_max_memory_usage_bytes_from_groups, get_kv_cache_capacity. One block is never given out (the null block), so lengths
are found against the memory without it, and the number of blocks counts it.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from kaito_controller.catalog.architecture import Architecture
from kaito_controller.sizing.cache_groups import CacheGroup, cache_groups
from kaito_controller.sizing.cache_rules import CacheRules
from kaito_controller.sizing.layer_caches import layer_caches
from kaito_controller.sizing.stages import stage_bounds


@frozen(kw_only=True)
class KVCache:
    """How the KV cache of a model is laid out when it is cut `tensor` ways, and the layers into stages.

    `block_bytes` is one block of each stage's GPUs, of which the pools of all stages have equally many.
    """

    groups: tuple[CacheGroup, ...]
    block_bytes: tuple[int, ...]
    rules: CacheRules

    @property
    def empty(self) -> bool:
        """Whether the model keeps no cache at all."""
        return not self.groups

    def request_blocks(self, tokens: int) -> int:
        """Blocks that one request of `tokens` tokens takes, over all groups."""
        return sum(group.blocks(tokens, self.rules) for group in self.groups)

    def blocks(self, available: Sequence[int]) -> int:
        """Blocks of the pool, given the bytes that each stage's GPU has left."""
        if self.empty:
            return 1
        return max(0, min(left // size for left, size in zip(available, self.block_bytes, strict=True) if size))

    def longest(self, available: Sequence[int], limit: int) -> int:
        """The longest context in tokens, at most `limit`, that one request can have; 0 when not even one token fits."""
        if self.empty:
            return limit
        usable = self.blocks(available) - 1
        if self.request_blocks(1) > usable:
            return 0
        low, high = 1, limit
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.request_blocks(middle) <= usable else (low, middle - 1)
        return low

    def requests(self, available: Sequence[int], length: int) -> float:
        """How many requests of `length` tokens the pool holds at a time."""
        return self.blocks(available) / self.request_blocks(length) if not self.empty else 0.0

    def tokens(self, available: Sequence[int], length: int) -> int:
        """The size in tokens that the engine logs, where requests are at most `length` tokens long."""
        return int(self.requests(available, length) * length)


def kv_cache(architecture: Architecture, *, tensor: int, stages: int, rules: CacheRules) -> KVCache:
    """Lay out the cache of a model cut `tensor` ways and into `stages`.

    Raises:
        MissingNumber: the architecture lacks a number.
        UnsupportedCache: the engine cannot lay out the caches of its layers side by side.
    """
    groups = cache_groups(layer_caches(architecture, tensor, rules))
    bounds = stage_bounds(architecture.layers, stages)
    sizes = tuple(max((group.block_bytes(*bound) for group in groups), default=0) for bound in bounds)
    return KVCache(groups=groups, block_bytes=sizes, rules=rules)
