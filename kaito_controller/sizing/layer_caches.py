"""The cache that each layer of a model asks for on one tensor rank.

Formulas: vLLM 0.32, `get_kv_cache_spec` of model_executor/layers/attention, mla_attention.py, mamba/abstract.py and
models/deepseek_v2.py, and the alignment of hybrid models in platforms/interface.py (_align_hybrid_block_size).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from attrs import frozen

from kaito_controller.catalog.architecture import (
    ATTENTION,
    Architecture,
    AttentionShape,
    LatentShape,
    Mixer,
    StateShape,
)
from kaito_controller.sizing.cache_rules import CacheRules
from kaito_controller.sizing.missing import MissingNumber, known
from kaito_controller.sizing.states import checkpoints, state_bytes

# The indexer keeps 8-bit numbers and one 32-bit scale for each 128 of them (vLLM, models/deepseek_v2.py, Indexer).
_INDEXER_GROUP: Final = 128
_INDEXER_SCALE_BYTES: Final = 4
# Blocks of a model with latent attention and states are multiples of this (platforms/interface.py).
_LATENT_HYBRID_BLOCK: Final = 128


class CacheKind(StrEnum):
    """How long the cache of a layer lives: for all tokens, for a window of them, or for the request as a whole."""

    FULL = "full"
    LATENT = "latent"
    SLIDING = "sliding"
    CHUNKED = "chunked"
    CROSS = "cross"
    STATE = "state"


@frozen(kw_only=True)
class LayerCache:
    """One layer's cache: pages of `content_bytes`, each for `block_size` tokens, or for one request's state.

    Two layers with equal caches can share a block table. `shape` tells caches of equal size apart as the engine does
    (heads and their widths); `padded_bytes` is the page where it is made larger than its content; `window` is the span
    of a sliding window or a chunk in tokens, `states` the number of states that one request holds.
    """

    kind: CacheKind
    block_size: int
    content_bytes: int
    shape: tuple[int, ...] = ()
    padded_bytes: int | None = None
    window: int = 0
    states: int = 0

    @property
    def page_bytes(self) -> int:
        """Bytes of one page."""
        return self.padded_bytes if self.padded_bytes is not None else self.content_bytes


def layer_caches(architecture: Architecture, tensor: int, rules: CacheRules) -> tuple[tuple[LayerCache, ...], ...]:
    """The caches of every layer, in order: none for a layer that keeps nothing, two for one of two mixers.

    Raises:
        MissingNumber: the architecture lacks a number that the cache of one of its kinds needs.
    """
    block_size, state_page = _aligned(architecture, tensor, rules)
    makers = _Makers(architecture=architecture, tensor=tensor, rules=rules, block_size=block_size, page=state_page)
    own = architecture.layers - architecture.kv_shared_layers
    made = {parts: tuple(makers.caches(parts)) for parts in set(architecture.layer_mixers)}
    indexers = _indexers(architecture)
    return tuple(
        made[parts] + (makers.indexer() if index < indexers and Mixer.LATENT in parts else ()) if index < own else ()
        for index, parts in enumerate(architecture.layer_mixers)
    )


def attention_shape(architecture: Architecture, kind: Mixer) -> AttentionShape:
    """The attention of one kind of layer with every number filled in that the architecture has for all."""
    shape = architecture.attention.get(kind, AttentionShape())
    head_dim = shape.head_dim or architecture.head_dim
    return AttentionShape(
        window=shape.window,
        heads=shape.heads or architecture.attention_heads,
        kv_heads=shape.kv_heads or architecture.kv_heads,
        head_dim=head_dim,
        value_head_dim=shape.value_head_dim or head_dim,
        shared_kv_matrix=shape.shared_kv_matrix,
    )


def latent_shape(architecture: Architecture) -> LatentShape:
    """The numbers of latent attention.

    Raises:
        MissingNumber: there are none.
    """
    if architecture.latent is None:
        raise MissingNumber("mla.kv_lora_rank", "the cache of its latent attention follows from it")
    return architecture.latent


def state_shape(architecture: Architecture, kind: Mixer) -> StateShape:
    """The numbers of one kind of state; empty where none are known, so that who needs one names it as missing."""
    return architecture.states.get(kind, StateShape())


@frozen(kw_only=True)
class _Makers:
    architecture: Architecture
    tensor: int
    rules: CacheRules
    block_size: int
    page: int | None

    def caches(self, parts: tuple[Mixer, ...]) -> Iterator[LayerCache]:
        for part in parts:
            if part in ATTENTION:
                yield self._attention(part)
            elif part is Mixer.LATENT:
                yield self._latent()
            elif part is not Mixer.NONE:
                yield self._state(part)

    def _attention(self, part: Mixer) -> LayerCache:
        shape = attention_shape(self.architecture, part)
        heads = max(1, (shape.kv_heads or 1) // self.tensor)
        dims = (shape.head_dim or 0, shape.value_head_dim or 0)
        per_token = heads * sum(dims) * self.rules.number_bytes
        block, window, kind = self.block_size, 0, CacheKind(part)
        if part is Mixer.SLIDING:
            block = max(self.rules.kernel_block, block // self.rules.kernel_block * self.rules.kernel_block)
        if part in {Mixer.SLIDING, Mixer.CHUNKED}:
            window = known(shape.window, f"{part}.window", "the cache of its layers is bounded by it")
        return LayerCache(
            kind=kind, block_size=block, content_bytes=block * per_token, shape=(heads, *dims), window=window
        )

    def _latent(self) -> LayerCache:
        per_token = _latent_token_bytes(latent_shape(self.architecture), self.rules)
        return LayerCache(
            kind=CacheKind.LATENT,
            block_size=self.block_size,
            content_bytes=self.block_size * per_token,
            shape=(per_token,),
        )

    def indexer(self) -> tuple[LayerCache, ...]:
        indexer = latent_shape(self.architecture).indexer
        if indexer is None:
            return ()
        per_token = indexer.head_dim + indexer.head_dim // _INDEXER_GROUP * _INDEXER_SCALE_BYTES
        return (
            LayerCache(
                kind=CacheKind.LATENT,
                block_size=self.block_size,
                content_bytes=self.block_size * per_token,
                shape=(per_token, indexer.heads),
            ),
        )

    def _state(self, part: Mixer) -> LayerCache:
        content = state_bytes(part, state_shape(self.architecture, part), self.tensor, self.rules)
        return LayerCache(
            kind=CacheKind.STATE,
            block_size=self.block_size,
            content_bytes=content,
            shape=(checkpoints(part),),
            padded_bytes=self.page if self.page is not None and self.page != content else None,
            states=2 + checkpoints(part) if self.rules.prefix_caching else 1,
        )


def _latent_token_bytes(shape: LatentShape, rules: CacheRules) -> int:
    if shape.indexer is not None and rules.packed_latent_bytes is not None:
        return rules.packed_latent_bytes
    return (shape.kv_lora_rank + shape.qk_rope_head_dim) * rules.number_bytes


def _indexers(architecture: Architecture) -> int:
    """How many layers hold an indexer: which ones does not matter to the sum, so the first ones stand for them."""
    indexer = architecture.latent.indexer if architecture.latent is not None else None
    if indexer is None:
        return 0
    return indexer.layers if indexer.layers is not None else architecture.layers


def _aligned(architecture: Architecture, tensor: int, rules: CacheRules) -> tuple[int, int | None]:
    """Tokens of a block, and the page of a state where attention layers are beside it.

    A page of attention is made at least as large as a state, by longer blocks; states are then padded to that page.
    """
    kinds = architecture.mixer_kinds
    states = kinds.difference(ATTENTION, (Mixer.LATENT, Mixer.NONE))
    if not states or kinds.isdisjoint((*ATTENTION, Mixer.LATENT)):
        return rules.block_size, None
    state = max(state_bytes(kind, state_shape(architecture, kind), tensor, rules) for kind in states)
    least = max(rules.kernel_block, rules.block_size)
    if Mixer.LATENT in kinds:
        per_token = _latent_token_bytes(latent_shape(architecture), rules)
        least = max(least, _LATENT_HYBRID_BLOCK)
    else:
        heads = max(1, architecture.kv_heads // tensor)
        per_token = heads * 2 * architecture.head_dim * rules.number_bytes
    block = least * -(-state // (least * per_token))
    block = max(rules.block_size, rules.kernel_block * -(-block // rules.kernel_block))
    return block, block * per_token
