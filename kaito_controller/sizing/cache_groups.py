"""Layers that share a block table, and the bytes of one block, as the engine groups them.

After vLLM 0.32, v1/core/kv_cache_utils.py: get_kv_cache_groups, unify_kv_cache_spec_page_size,
_get_kv_cache_groups_uniform_page_size, _get_kv_cache_bytes_per_block, for layouts whose outermost part is the layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import Final

from attrs import evolve, frozen

from kaito_controller.sizing.cache_rules import CacheRules
from kaito_controller.sizing.layer_caches import CacheKind, LayerCache

# Above this ratio of the most layers of a kind to the fewest, groups are as large as the fewest.
_PADDING_RATIO: Final = 1.5
_EVERY_TOKEN: Final = {CacheKind.FULL, CacheKind.LATENT}


class UnsupportedCache(ValueError):  # noqa: N818 (named by what is wrong, as the catalogue's errors are)
    """The engine cannot lay out pages of such different sizes."""


@frozen(kw_only=True)
class CacheGroup:
    """Layers with one block table: `members` are (layer, cache); one block holds a page of each."""

    members: tuple[tuple[int, LayerCache], ...]

    @cached_property
    def kinds(self) -> tuple[LayerCache, ...]:
        """The caches that differ."""
        return tuple(dict.fromkeys(cache for _, cache in self.members))

    def blocks(self, tokens: int, rules: CacheRules) -> int:
        """Blocks that one request of `tokens` tokens takes."""
        return max(blocks_of(cache, tokens, rules) for cache in self.kinds)

    def block_bytes(self, first: int, last: int) -> int:
        """Bytes of one block, counting the layers from `first` up to before `last`."""
        return sum(cache.page_bytes for layer, cache in self.members if first <= layer < last)


def blocks_of(cache: LayerCache, tokens: int, rules: CacheRules) -> int:
    """Pages that one layer needs for one request of `tokens` tokens (vLLM, max_memory_usage_bytes of each spec)."""
    if cache.kind is CacheKind.STATE:
        return cache.states
    if cache.kind is CacheKind.CROSS:
        return _pages(rules.encoder_tokens, cache)
    if cache.kind is CacheKind.SLIDING:
        # One more, since a window need not begin where a block does.
        return _pages(min(cache.window - 1 + rules.in_flight_tokens, tokens), cache) + 1
    if cache.kind is CacheKind.CHUNKED:
        return _pages(min(cache.window + rules.in_flight_tokens, tokens), cache)
    return _pages(tokens, cache)


def cache_groups(layers: Sequence[Sequence[LayerCache]]) -> tuple[CacheGroup, ...]:
    """The groups of a model's caches; none for a model that keeps nothing.

    Raises:
        UnsupportedCache: page sizes cannot be made equal.
    """
    members = [(index, cache) for index, caches in enumerate(layers) for cache in caches]
    if not members:
        return ()
    if _one_type([cache for _, cache in members]):
        return (CacheGroup(members=tuple(members)),)
    return _equal_groups(_equal_pages(members))


def _one_type(caches: Sequence[LayerCache]) -> bool:
    """Whether all layers always need the same number of slots, so that one block table serves them."""
    if len({cache.block_size for cache in caches}) > 1:
        return False
    kinds = {cache.kind for cache in caches}
    if kinds <= _EVERY_TOKEN:
        return True
    if len(kinds) > 1:
        return False
    if kinds == {CacheKind.STATE}:
        return len({(cache.page_bytes, cache.states) for cache in caches}) == 1
    return len({cache.window for cache in caches}) == 1


def _equal_pages(members: Sequence[tuple[int, LayerCache]]) -> list[tuple[int, LayerCache]]:
    largest = max(cache.page_bytes for _, cache in members)
    grown = {cache: _grown(cache, largest) for cache in {cache for _, cache in members}}
    return [(index, grown[cache]) for index, cache in members]


def _grown(cache: LayerCache, page: int) -> LayerCache:
    if cache.page_bytes == page:
        return cache
    if cache.kind is CacheKind.STATE:
        return evolve(cache, padded_bytes=page)
    if page % cache.page_bytes == 0:
        ratio = page // cache.page_bytes
        return evolve(cache, block_size=cache.block_size * ratio, content_bytes=page, padded_bytes=None)
    if cache.kind is CacheKind.LATENT:
        raise UnsupportedCache(f"a page of {cache.page_bytes} bytes of latent attention does not divide one of {page}")
    return evolve(cache, padded_bytes=page)


def _equal_groups(members: Sequence[tuple[int, LayerCache]]) -> tuple[CacheGroup, ...]:
    """Groups of as many layers each: a kind with more layers than that has several groups, taken in turns."""
    kinds: dict[LayerCache, list[tuple[int, LayerCache]]] = {}
    for member in members:
        kinds.setdefault(member[1], []).append(member)
    counts = [len(members) for members in kinds.values()]
    size = max(counts) if max(counts) < min(counts) * _PADDING_RATIO else min(counts)
    return tuple(chain.from_iterable(_turns(members, -(-len(members) // size)) for members in kinds.values()))


def _turns(members: Sequence[tuple[int, LayerCache]], groups: int) -> list[CacheGroup]:
    return [CacheGroup(members=tuple(members[turn::groups])) for turn in range(groups)]


def _pages(tokens: int, cache: LayerCache) -> int:
    return -(-tokens // cache.block_size)
