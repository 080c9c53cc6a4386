"""The numbers of a model that decide its memory and how it may be split, as immutable values.

A layer is one or more mixers (what looks at other tokens, and so keeps something per token or per request) followed by
no, one or more feed-forward parts. Models of one kind of layer need only the plain numbers; others say which layer is
of which kind by a pattern that repeats until all layers have one::

    architecture:                       # gemma-4-26B-A4B: five sliding layers, then a full one with its own heads
      name: Gemma4ForConditionalGeneration
      layers: 30
      hidden_size: 2816
      intermediate_size: 2112
      attention_heads: 16
      kv_heads: 8
      head_dim: 256
      vocabulary_size: 262144
      tied_embeddings: true
      mixers: sliding*5 full
      feed_forwards: dense+moe
      sliding: {window: 1024}
      full: {kv_heads: 2, head_dim: 512}
      experts: {count: 128, per_token: 8, intermediate_size: 704}

A number that no source gives stays out, and whatever needs it says so by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from itertools import chain, cycle, islice
from typing import Final, TypeVar

from attrs import field, frozen


class Mixer(StrEnum):
    """How a layer looks at other tokens.

    `mla` is multi-head latent attention; `mamba` and `mamba2` are state spaces; `gated_delta` is the linear attention
    of Qwen3-Next and Qwen3.5; `kda` that of Kimi Linear; `lightning` that of MiniMax-01; `short_conv` the convolution
    of LFM2; `cross` looks at an encoder's output; `compressed` is DeepSeek-V4's attention over pooled tokens beside a
    sliding window, whose cache has no numbers here. A layer that is only a feed-forward part has `none`.
    """

    FULL = "full"
    SLIDING = "sliding"
    CHUNKED = "chunked"
    LATENT = "mla"
    COMPRESSED = "compressed"
    CROSS = "cross"
    MAMBA = "mamba"
    MAMBA2 = "mamba2"
    GATED_DELTA = "gated_delta"
    KIMI_DELTA = "kda"
    LIGHTNING = "lightning"
    SHORT_CONV = "short_conv"
    NONE = "none"


ATTENTION: Final = (Mixer.FULL, Mixer.SLIDING, Mixer.CHUNKED, Mixer.CROSS)
"""Those that keep keys and values of every head, whose numbers are an `AttentionShape`."""


class FeedForward(StrEnum):
    """What follows the mixer in a layer; `none` where the layer is only a mixer."""

    DENSE = "dense"
    MOE = "moe"
    NONE = "none"


@frozen(kw_only=True)
class AttentionShape:
    """The attention of one kind of layer, where it differs from the architecture's own numbers.

    `window` is in tokens: the span of a sliding window, or the length of a chunk. `shared_kv_matrix` says that keys and
    values come from one matrix of weights; the cache keeps both.
    """

    window: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    value_head_dim: int | None = None
    shared_kv_matrix: bool = False


@frozen(kw_only=True)
class Indexer:
    """The part of sparse latent attention that picks the tokens to look at; it has a cache of its own.

    `layers` is how many of the layers hold one; None means every layer.
    """

    heads: int
    head_dim: int
    top_k: int
    layers: int | None = None


@frozen(kw_only=True)
class LatentShape:
    """Multi-head latent attention: one compressed vector of `kv_lora_rank` + `qk_rope_head_dim` a token and layer."""

    kv_lora_rank: int
    qk_rope_head_dim: int
    qk_nope_head_dim: int | None = None
    v_head_dim: int | None = None
    q_lora_rank: int | None = None
    indexer: Indexer | None = None


@frozen(kw_only=True)
class StateShape:
    """The state that a layer keeps for each request, however long it is.

    Of mamba2: `heads` of `head_dim`, `groups`, `state_size`, `conv_kernel`. Of mamba: `intermediate_size`,
    `state_size`, `conv_kernel`, `time_step_rank`. Of gated_delta and kda: `key_heads`, `key_head_dim`, `heads` and
    `head_dim` (those of values), `conv_kernel`. Of lightning: `heads`, `head_dim`. Of short_conv: `conv_kernel`,
    `intermediate_size`. `dtype` is that of the recurrent state where it is not the model's.
    """

    heads: int | None = None
    head_dim: int | None = None
    groups: int | None = None
    state_size: int | None = None
    conv_kernel: int | None = None
    intermediate_size: int | None = None
    time_step_rank: int | None = None
    key_heads: int | None = None
    key_head_dim: int | None = None
    dtype: str | None = None


@frozen(kw_only=True)
class Experts:
    """The experts of a mixture-of-experts layer.

    `shared_intermediate_size` is the width of all shared experts of a layer together, 0 without any. `latent_size` is
    the width that tokens are projected to before the experts, where it is not the hidden size.
    """

    count: int
    per_token: int
    intermediate_size: int
    shared_intermediate_size: int = 0
    latent_size: int | None = None


@frozen(kw_only=True)
class Encoder:
    """The encoder of an encoder-decoder model; `positions` is the longest input it reads."""

    layers: int
    hidden_size: int
    intermediate_size: int
    attention_heads: int
    positions: int


@frozen(kw_only=True)
class Architecture:
    """The numbers of a transformer that decide its memory and how it may be split.

    `name` is the class in the model's config.json. `kv_heads` equals `attention_heads` for multi-head attention, 1 for
    multi-query attention. `intermediate_size` is the width of a dense feed-forward part, None where no layer has one.
    `tied_embeddings` says that input and output embeddings are one matrix in the checkpoint. `mixers` and
    `feed_forwards` are patterns over the layers, each item the parts of one layer; see the module. `kv_shared_layers`
    last layers read the cache of earlier ones and keep none. `gated_mlp` feed-forward parts have three matrices, others
    two. `attention_gate` doubles the query matrix. `per_layer_embedding` is the width of the embedding that each layer
    has of its own (gemma-3n, gemma-4 E), over a vocabulary of `per_layer_vocabulary`. `position_embeddings` is the
    number of learned positions. `vision_parameters` are those of towers and projectors beside the language model, and
    `draft_parameters` those of layers for drafting that the engine leaves out.
    """

    name: str
    layers: int
    hidden_size: int
    vocabulary_size: int
    attention_heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int | None = None
    tied_embeddings: bool = False
    mixers: tuple[tuple[Mixer, ...], ...] = ((Mixer.FULL,),)
    feed_forwards: tuple[tuple[FeedForward, ...], ...] = ((FeedForward.DENSE,),)
    attention: Mapping[Mixer, AttentionShape] = field(factory=dict)
    latent: LatentShape | None = None
    states: Mapping[Mixer, StateShape] = field(factory=dict)
    experts: Experts | None = None
    encoder: Encoder | None = None
    kv_shared_layers: int = 0
    gated_mlp: bool = True
    attention_gate: bool = False
    per_layer_embedding: int | None = None
    per_layer_vocabulary: int | None = None
    position_embeddings: int | None = None
    vision_parameters: int | None = None
    draft_parameters: int | None = None

    @property
    def embedding_parameters(self) -> int:
        """Numbers in one embedding matrix."""
        return self.vocabulary_size * self.hidden_size

    @cached_property
    def mixer_kinds(self) -> frozenset[Mixer]:
        """The kinds of mixers that there are."""
        return frozenset(chain.from_iterable(self.mixers))

    @cached_property
    def feed_forward_kinds(self) -> frozenset[FeedForward]:
        """The kinds of feed-forward parts that there are."""
        return frozenset(chain.from_iterable(self.feed_forwards))

    @cached_property
    def layer_mixers(self) -> tuple[tuple[Mixer, ...], ...]:
        """The mixers of every layer, in order."""
        return repeated(self.mixers, self.layers)

    @cached_property
    def layer_feed_forwards(self) -> tuple[tuple[FeedForward, ...], ...]:
        """The feed-forward parts of every layer, in order."""
        return repeated(self.feed_forwards, self.layers)


_P = TypeVar("_P")


def repeated(pattern: Sequence[tuple[_P, ...]], layers: int) -> tuple[tuple[_P, ...], ...]:
    """A pattern over the first `layers` layers, begun again as often as it takes."""
    return tuple(islice(cycle(pattern), layers))


_K = TypeVar("_K", bound=StrEnum)


def read_pattern(text: str, kinds: type[_K]) -> tuple[tuple[_K, ...], ...]:
    """Read a pattern such as ``sliding*5 full``: words of one layer each, `+` between its parts, `*` before a count.

    Raises:
        ValueError: a word is no kind, or a count no whole number above zero.
    """
    pattern: list[tuple[_K, ...]] = []
    for word in text.split():
        parts, star, count = word.partition("*")
        if star and not (count.isdecimal() and int(count) > 0):
            raise ValueError(f"'{word}': after * comes a whole number above zero")
        pattern += [tuple(kinds(part) for part in parts.split("+"))] * (int(count) if star else 1)
    if not pattern:
        raise ValueError("a pattern has at least one layer")
    return tuple(pattern)
