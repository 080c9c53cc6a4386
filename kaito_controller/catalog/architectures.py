"""Reads the `architecture` of a preset; see `kaito_controller.catalog.architecture` for how it is written."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Final, TypeVar

from kaito_controller.catalog.architecture import (
    ATTENTION,
    Architecture,
    AttentionShape,
    Encoder,
    Experts,
    FeedForward,
    Indexer,
    LatentShape,
    Mixer,
    StateShape,
    read_pattern,
)
from kaito_controller.catalog.fields import Fields

STATES: Final = (
    Mixer.MAMBA, Mixer.MAMBA2, Mixer.GATED_DELTA, Mixer.KIMI_DELTA, Mixer.LIGHTNING, Mixer.SHORT_CONV,
)  # fmt: skip

_K = TypeVar("_K", bound=StrEnum)


def read_architecture(fields: Fields) -> Architecture:
    """The architecture of one preset.

    Raises:
        CatalogError: a field has the wrong type, or numbers contradict one another.
    """
    architecture = Architecture(
        name=fields.text("name"),
        layers=fields.positive("layers"),
        hidden_size=fields.positive("hidden_size"),
        intermediate_size=fields.optional_positive("intermediate_size"),
        attention_heads=fields.positive("attention_heads"),
        kv_heads=fields.positive("kv_heads"),
        head_dim=fields.positive("head_dim"),
        vocabulary_size=fields.positive("vocabulary_size"),
        tied_embeddings=fields.flag("tied_embeddings"),
        mixers=_pattern(fields, "mixers", Mixer, Mixer.FULL),
        feed_forwards=_pattern(fields, "feed_forwards", FeedForward, FeedForward.DENSE),
        attention=dict(_attention(fields)),
        latent=_latent(fields),
        states=dict(_states(fields)),
        experts=_experts(fields),
        encoder=_encoder(fields),
        kv_shared_layers=fields.optional_positive("kv_shared_layers") or 0,
        gated_mlp=fields.flag("gated_mlp", default=True),
        attention_gate=fields.flag("attention_gate"),
        per_layer_embedding=fields.optional_positive("per_layer_embedding"),
        per_layer_vocabulary=fields.optional_positive("per_layer_vocabulary"),
        position_embeddings=fields.optional_positive("position_embeddings"),
        vision_parameters=fields.optional_positive("vision_parameters"),
        draft_parameters=fields.optional_positive("draft_parameters"),
    )
    fields.done()
    _check(fields, architecture)
    return architecture


def _pattern(fields: Fields, name: str, kinds: type[_K], usual: _K) -> tuple[tuple[_K, ...], ...]:
    try:
        return read_pattern(fields.text(name, usual), kinds)
    except ValueError:
        rule = f"must be words such as {usual}*3 or {usual}+{list(kinds)[1]}, of the kinds {', '.join(kinds)}"
        raise fields.problem(name, rule) from None


def _attention(fields: Fields) -> Iterator[tuple[Mixer, AttentionShape]]:
    for kind in ATTENTION:
        inner = fields.optional_mapping(kind)
        if inner is not None:
            shape = AttentionShape(
                window=inner.optional_positive("window"),
                heads=inner.optional_positive("heads"),
                kv_heads=inner.optional_positive("kv_heads"),
                head_dim=inner.optional_positive("head_dim"),
                value_head_dim=inner.optional_positive("value_head_dim"),
                shared_kv_matrix=inner.flag("shared_kv_matrix"),
            )
            inner.done()
            yield kind, shape


def _latent(fields: Fields) -> LatentShape | None:
    inner = fields.optional_mapping(Mixer.LATENT)
    if inner is None:
        return None
    shape = LatentShape(
        kv_lora_rank=inner.positive("kv_lora_rank"),
        qk_rope_head_dim=inner.positive("qk_rope_head_dim"),
        qk_nope_head_dim=inner.optional_positive("qk_nope_head_dim"),
        v_head_dim=inner.optional_positive("v_head_dim"),
        q_lora_rank=inner.optional_positive("q_lora_rank"),
        indexer=_indexer(inner),
    )
    inner.done()
    return shape


def _indexer(fields: Fields) -> Indexer | None:
    inner = fields.optional_mapping("indexer")
    if inner is None:
        return None
    indexer = Indexer(
        heads=inner.positive("heads"),
        head_dim=inner.positive("head_dim"),
        top_k=inner.positive("top_k"),
        layers=inner.optional_positive("layers"),
    )
    inner.done()
    return indexer


def _states(fields: Fields) -> Iterator[tuple[Mixer, StateShape]]:
    for kind in STATES:
        inner = fields.optional_mapping(kind)
        if inner is not None:
            shape = StateShape(
                heads=inner.optional_positive("heads"),
                head_dim=inner.optional_positive("head_dim"),
                groups=inner.optional_positive("groups"),
                state_size=inner.optional_positive("state_size"),
                conv_kernel=inner.optional_positive("conv_kernel"),
                intermediate_size=inner.optional_positive("intermediate_size"),
                time_step_rank=inner.optional_positive("time_step_rank"),
                key_heads=inner.optional_positive("key_heads"),
                key_head_dim=inner.optional_positive("key_head_dim"),
                dtype=inner.optional_text("dtype"),
            )
            inner.done()
            yield kind, shape


def _experts(fields: Fields) -> Experts | None:
    inner = fields.optional_mapping("experts")
    if inner is None:
        return None
    experts = Experts(
        count=inner.positive("count"),
        per_token=inner.positive("per_token"),
        intermediate_size=inner.positive("intermediate_size"),
        shared_intermediate_size=inner.optional_positive("shared_intermediate_size") or 0,
        latent_size=inner.optional_positive("latent_size"),
    )
    inner.done()
    if experts.per_token > experts.count:
        raise inner.problem("per_token", f"must be at most count ({experts.count})")
    return experts


def _encoder(fields: Fields) -> Encoder | None:
    inner = fields.optional_mapping("encoder")
    if inner is None:
        return None
    encoder = Encoder(
        layers=inner.positive("layers"),
        hidden_size=inner.positive("hidden_size"),
        intermediate_size=inner.positive("intermediate_size"),
        attention_heads=inner.positive("attention_heads"),
        positions=inner.positive("positions"),
    )
    inner.done()
    return encoder


def _check(fields: Fields, architecture: Architecture) -> None:
    if architecture.attention_heads % architecture.kv_heads:
        raise fields.problem("kv_heads", f"must divide attention_heads ({architecture.attention_heads})")
    if architecture.kv_shared_layers >= architecture.layers:
        raise fields.problem("kv_shared_layers", f"must be below layers ({architecture.layers})")
