"""Reads `presets/<family>.yaml`."""

from __future__ import annotations

from collections.abc import Iterator

from kaito_controller.catalog.fields import Fields
from kaito_controller.catalog.model import DTYPE_BYTES, Architecture, Preset


def read_presets(document: Fields) -> Iterator[Preset]:
    """The presets of one family's file."""
    family = document.text("family")
    for entry in document.mappings("presets"):
        yield _preset(entry, family)
        entry.done()
    document.done()


def _preset(entry: Fields, family: str) -> Preset:
    preset = Preset(
        name=entry.text("name"),
        family=family,
        model_id=entry.text("model_id"),
        aliases=entry.texts("aliases"),
        licence=entry.text("licence"),
        gated=entry.flag("gated"),
        token_limit=entry.positive("token_limit"),
        dtype=entry.text("dtype"),
        parameters=entry.positive("parameters"),
        weights_bytes=entry.positive("weights_bytes"),
        weights_folder=entry.optional_text("weights_folder"),
        architecture=_architecture(entry.mapping("architecture")),
        engine_arguments=entry.text_map("engine_arguments"),
        sources=entry.texts("sources"),
    )
    if preset.dtype not in DTYPE_BYTES:
        raise entry.problem("dtype", f"must be one of {', '.join(DTYPE_BYTES)}")
    if preset.weights_folder and ("/" in preset.weights_folder or preset.weights_folder.startswith(".")):
        raise entry.problem("weights_folder", "must be the name of one folder")
    return preset


def _architecture(fields: Fields) -> Architecture:
    architecture = Architecture(
        name=fields.text("name"),
        layers=fields.positive("layers"),
        hidden_size=fields.positive("hidden_size"),
        intermediate_size=fields.positive("intermediate_size"),
        attention_heads=fields.positive("attention_heads"),
        kv_heads=fields.positive("kv_heads"),
        head_dim=fields.positive("head_dim"),
        vocabulary_size=fields.positive("vocabulary_size"),
        tied_embeddings=fields.flag("tied_embeddings"),
    )
    fields.done()
    if architecture.attention_heads % architecture.kv_heads:
        raise fields.problem("kv_heads", f"must divide attention_heads ({architecture.attention_heads})")
    return architecture
