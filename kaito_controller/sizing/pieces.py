"""The matrices of a model's parts, counted from its architecture, and how the engine cuts each over tensor ranks.

After vLLM 0.32, model_executor/layers/linear.py, vocab_parallel_embedding.py, fused_moe and model_executor/models.
Biases and norms are a few thousandths of a layer; norms are counted, biases are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Final

from attrs import frozen

from kaito_controller.catalog.architecture import ATTENTION, Architecture, FeedForward, Mixer
from kaito_controller.catalog.quantisation import Part
from kaito_controller.sizing.layer_caches import attention_shape, latent_shape, state_shape
from kaito_controller.sizing.missing import MissingNumber, known


class Cut(StrEnum):
    """How the engine spreads a matrix over tensor ranks.

    `whole` is copied to each rank, `ranks` divided evenly; `keys` is divided by KV heads, of which each rank holds at
    least one; `experts` goes expert by expert with expert parallelism, and evenly without; `vocabulary` is padded
    first.
    """

    WHOLE = "whole"
    RANKS = "ranks"
    KEYS = "keys"
    EXPERTS = "experts"
    VOCABULARY = "vocabulary"


@frozen(kw_only=True)
class Piece:
    """Matrices of one part that are cut alike: `numbers` of them all, `units` heads, experts or rows that are not cut.

    `bytes` is their size where it does not follow from the precision that is served.
    """

    part: Part
    cut: Cut
    numbers: int
    units: int = 1
    bytes: int | None = None


def layer_pieces(
    architecture: Architecture, mixers: tuple[Mixer, ...], feed_forwards: tuple[FeedForward, ...]
) -> Iterator[Piece]:
    """The pieces of one layer.

    Raises:
        MissingNumber: the architecture lacks a number that the layer's size follows from.
    """
    norms = 0
    for mixer in mixers:
        if mixer is not Mixer.NONE:
            norms += 1
            yield from _mixer(architecture, mixer)
    for part in feed_forwards:
        if part is not FeedForward.NONE:
            norms += 1
            yield from _FEED_FORWARDS[part](architecture)
    yield Piece(part=Part.NORMS, cut=Cut.WHOLE, numbers=norms * architecture.hidden_size)
    if architecture.per_layer_embedding is not None:
        # A gate into the layer's own embedding and a projection back (gemma-3n, gemma-4 E).
        numbers = 2 * architecture.hidden_size * architecture.per_layer_embedding
        yield Piece(part=Part.DENSE, cut=Cut.WHOLE, numbers=numbers)


def first_pieces(architecture: Architecture) -> Iterator[Piece]:
    """What the first stage holds beside its layers: embeddings, towers for other inputs, an encoder."""
    rows = architecture.vocabulary_size
    yield Piece(part=Part.EMBEDDINGS, cut=Cut.VOCABULARY, numbers=architecture.embedding_parameters, units=rows)
    if architecture.per_layer_embedding is not None:
        rows = architecture.per_layer_vocabulary or architecture.vocabulary_size
        numbers = rows * architecture.layers * architecture.per_layer_embedding
        yield Piece(part=Part.EMBEDDINGS, cut=Cut.VOCABULARY, numbers=numbers, units=rows)
        projection = architecture.hidden_size * architecture.layers * architecture.per_layer_embedding
        yield Piece(part=Part.DENSE, cut=Cut.WHOLE, numbers=projection)
    if architecture.position_embeddings is not None:
        numbers = architecture.position_embeddings * architecture.hidden_size
        yield Piece(part=Part.EMBEDDINGS, cut=Cut.WHOLE, numbers=numbers)
    if architecture.vision_parameters is not None:
        yield Piece(part=Part.VISION, cut=Cut.WHOLE, numbers=architecture.vision_parameters)
    if architecture.encoder is not None:
        encoder = architecture.encoder
        layer = 4 * encoder.hidden_size**2 + 2 * encoder.hidden_size * encoder.intermediate_size
        yield Piece(part=Part.DENSE, cut=Cut.RANKS, numbers=encoder.layers * layer)
        yield Piece(part=Part.EMBEDDINGS, cut=Cut.WHOLE, numbers=encoder.positions * encoder.hidden_size)


def last_pieces(architecture: Architecture) -> Iterator[Piece]:
    """What the last stage holds beside its layers: the output embeddings, which are the input ones where tied."""
    rows = architecture.vocabulary_size
    yield Piece(part=Part.HEAD, cut=Cut.VOCABULARY, numbers=architecture.embedding_parameters, units=rows)
    yield Piece(part=Part.NORMS, cut=Cut.WHOLE, numbers=architecture.hidden_size)


def _mixer(architecture: Architecture, mixer: Mixer) -> Iterator[Piece]:
    if mixer in ATTENTION:
        return _attention(architecture, mixer)
    if mixer is Mixer.LATENT:
        return _latent(architecture)
    if mixer not in _STATES:
        raise MissingNumber(mixer, "the size of its layers follows from it")
    return _STATES[mixer](architecture, mixer)


def _attention(architecture: Architecture, mixer: Mixer) -> Iterator[Piece]:
    shape = attention_shape(architecture, mixer)
    hidden, heads, kv_heads = architecture.hidden_size, shape.heads or 1, shape.kv_heads or 1
    width, value_width = shape.head_dim or 0, shape.value_head_dim or 0
    queries = heads * width * (2 if architecture.attention_gate else 1)
    yield Piece(part=Part.ATTENTION, cut=Cut.RANKS, numbers=hidden * (queries + heads * value_width))
    # The engine loads one matrix for both into the places of both.
    numbers = hidden * kv_heads * (width + value_width)
    yield Piece(part=Part.ATTENTION, cut=Cut.KEYS, numbers=numbers, units=kv_heads)


def _latent(architecture: Architecture) -> Iterator[Piece]:
    shape = latent_shape(architecture)
    hidden, heads, rank = architecture.hidden_size, architecture.attention_heads, shape.kv_lora_rank
    why = "the size of latent attention follows from it"
    nope = known(shape.qk_nope_head_dim, "mla.qk_nope_head_dim", why)
    value = known(shape.v_head_dim, "mla.v_head_dim", why)
    queries = heads * (nope + shape.qk_rope_head_dim)
    compressed = hidden * (rank + shape.qk_rope_head_dim + (shape.q_lora_rank or 0))
    cut = (shape.q_lora_rank or hidden) * queries + rank * heads * (nope + value) + heads * value * hidden
    yield Piece(part=Part.ATTENTION, cut=Cut.WHOLE, numbers=compressed)
    yield Piece(part=Part.ATTENTION, cut=Cut.RANKS, numbers=cut)
    if shape.indexer is not None:
        indexer = shape.indexer
        picked = (shape.q_lora_rank or hidden) * indexer.heads * indexer.head_dim
        share = indexer.layers / architecture.layers if indexer.layers is not None else 1
        numbers = picked + hidden * (indexer.head_dim + indexer.heads)
        yield Piece(part=Part.ATTENTION, cut=Cut.WHOLE, numbers=round(numbers * share))


def _need(architecture: Architecture, mixer: Mixer, name: str) -> int:
    number: int | None = getattr(state_shape(architecture, mixer), name)
    return known(number, f"{mixer}.{name}", "the size of its layers follows from it")


def _mamba(architecture: Architecture, mixer: Mixer) -> Iterator[Piece]:
    hidden = architecture.hidden_size
    wide, size, kernel, rank = (
        _need(architecture, mixer, name)
        for name in ("intermediate_size", "state_size", "conv_kernel", "time_step_rank")
    )
    numbers = 3 * hidden * wide + wide * (kernel + rank + 2 * size + rank + size + 2)
    yield Piece(part=Part.STATE, cut=Cut.RANKS, numbers=numbers)


def _mamba2(architecture: Architecture, mixer: Mixer) -> Iterator[Piece]:
    hidden = architecture.hidden_size
    heads, width, groups, size, kernel = (
        _need(architecture, mixer, name) for name in ("heads", "head_dim", "groups", "state_size", "conv_kernel")
    )
    inner = heads * width
    numbers = hidden * (2 * inner + heads) + inner * (kernel + 1) + inner * hidden + inner + 3 * heads
    yield Piece(part=Part.STATE, cut=Cut.RANKS, numbers=numbers)
    # What the heads of a group share: each rank has that of at least one group.
    shared = 2 * groups * size * (hidden + kernel + 1)
    yield Piece(part=Part.STATE, cut=Cut.KEYS, numbers=shared, units=groups)


def _gated_delta(architecture: Architecture, mixer: Mixer) -> Iterator[Piece]:
    hidden = architecture.hidden_size
    heads, width, key_heads, key_width, kernel = (
        _need(architecture, mixer, name) for name in ("heads", "head_dim", "key_heads", "key_head_dim", "conv_kernel")
    )
    values, keys = heads * width, key_heads * key_width
    numbers = hidden * (2 * keys + 2 * values + 2 * heads) + (2 * keys + values) * kernel + values * hidden + 2 * heads
    yield Piece(part=Part.STATE, cut=Cut.RANKS, numbers=numbers)


def _kimi_delta(architecture: Architecture, mixer: Mixer) -> Iterator[Piece]:
    hidden = architecture.hidden_size
    heads, width, kernel = (_need(architecture, mixer, name) for name in ("heads", "head_dim", "conv_kernel"))
    inner = heads * width
    # Query, key, value and output; two gates through one head's width; convolutions and the gate of each head.
    numbers = 4 * hidden * inner + 2 * width * inner + 3 * inner * kernel + hidden * heads
    yield Piece(part=Part.STATE, cut=Cut.RANKS, numbers=numbers)
    yield Piece(part=Part.STATE, cut=Cut.WHOLE, numbers=2 * hidden * width)


def _lightning(architecture: Architecture, mixer: Mixer) -> Iterator[Piece]:
    inner = _need(architecture, mixer, "heads") * _need(architecture, mixer, "head_dim")
    yield Piece(part=Part.STATE, cut=Cut.RANKS, numbers=5 * architecture.hidden_size * inner)


def _short_conv(architecture: Architecture, mixer: Mixer) -> Iterator[Piece]:
    wide, kernel = _need(architecture, mixer, "intermediate_size"), _need(architecture, mixer, "conv_kernel")
    yield Piece(part=Part.STATE, cut=Cut.RANKS, numbers=4 * architecture.hidden_size * wide + wide * kernel)


_STATES: Final[Mapping[Mixer, Callable[[Architecture, Mixer], Iterator[Piece]]]] = {
    Mixer.MAMBA: _mamba,
    Mixer.MAMBA2: _mamba2,
    Mixer.GATED_DELTA: _gated_delta,
    Mixer.KIMI_DELTA: _kimi_delta,
    Mixer.LIGHTNING: _lightning,
    Mixer.SHORT_CONV: _short_conv,
}


def _dense(architecture: Architecture) -> Iterator[Piece]:
    width = known(architecture.intermediate_size, "intermediate_size", "the size of its dense layers follows from it")
    matrices = 3 if architecture.gated_mlp else 2
    yield Piece(part=Part.DENSE, cut=Cut.RANKS, numbers=matrices * architecture.hidden_size * width)


def _experts(architecture: Architecture) -> Iterator[Piece]:
    experts = architecture.experts
    if experts is None:
        raise MissingNumber("experts", "the size of its mixture-of-experts layers follows from it")
    hidden, inner = architecture.hidden_size, experts.latent_size or architecture.hidden_size
    matrices = 3 if architecture.gated_mlp else 2
    numbers = experts.count * matrices * inner * experts.intermediate_size
    yield Piece(part=Part.EXPERTS, cut=Cut.EXPERTS, numbers=numbers, units=experts.count)
    yield Piece(part=Part.ROUTER, cut=Cut.WHOLE, numbers=hidden * experts.count)
    if experts.latent_size is not None:
        yield Piece(part=Part.DENSE, cut=Cut.WHOLE, numbers=2 * hidden * experts.latent_size)
    if experts.shared_intermediate_size:
        shared = matrices * hidden * experts.shared_intermediate_size
        yield Piece(part=Part.SHARED_EXPERTS, cut=Cut.RANKS, numbers=shared)


_FEED_FORWARDS: Final[Mapping[FeedForward, Callable[[Architecture], Iterator[Piece]]]] = {
    FeedForward.DENSE: _dense,
    FeedForward.MOE: _experts,
}
