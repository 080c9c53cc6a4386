"""Reads `presets/<family>.yaml`.

::

    family: qwen
    presets:
      - name: qwen3-30b-a3b
        model_id: Qwen/Qwen3-30B-A3B
        revision: ad44e777bcd18fa416d9da3bd8f70d33ebb85d39     # optional: the hub's commit
        aliases: [other/spelling]                               # optional
        licence: apache-2.0
        gated: false                                            # optional
        token_limit: 40960
        unasked_token_limit: 4096                               # optional: where the engine by itself starts lower
        dtype: bfloat16                                         # of computing; packing is told by `quantisation`
        parameters: 30532122624                                 # optional
        weights_bytes: 61064245248                              # of the checkpoint's tensors, each counted once
        quantisation: {method: fp8, bits: 8, block: [128, 128], scale_bits: 32, unpacked: [head]}    # optional
        architecture: {...}                                     # see kaito_controller.catalog.architecture
        engine_arguments: {reasoning-parser: qwen3, chat-template: plain}    # a template of serve/templates, by name
        sources: [where each number is from]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kaito_controller.catalog.architectures import read_architecture
from kaito_controller.catalog.fields import Fields
from kaito_controller.catalog.model import DTYPE_BYTES, Preset
from kaito_controller.catalog.quantisation import Part, Quantisation

_SIDES: Final = 2


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
        parameters=entry.optional_positive("parameters"),
        weights_bytes=entry.positive("weights_bytes"),
        weights_folder=entry.optional_text("weights_folder"),
        architecture=read_architecture(entry.mapping("architecture")),
        quantisation=_quantisation(entry),
        unasked_token_limit=entry.optional_positive("unasked_token_limit"),
        revision=entry.optional_text("revision"),
        engine_arguments=entry.text_map("engine_arguments"),
        sources=entry.texts("sources"),
    )
    if preset.dtype not in DTYPE_BYTES:
        raise entry.problem("dtype", f"must be one of {', '.join(DTYPE_BYTES)}")
    if preset.weights_folder and ("/" in preset.weights_folder or preset.weights_folder.startswith(".")):
        raise entry.problem("weights_folder", "must be the name of one folder")
    return preset


def _quantisation(entry: Fields) -> Quantisation | None:
    fields = entry.optional_mapping("quantisation")
    if fields is None:
        return None
    quantisation = Quantisation(
        method=fields.text("method"),
        bits=fields.positive("bits"),
        group_size=fields.optional_positive("group_size"),
        block=_block(fields),
        scale_bits=fields.optional_positive("scale_bits") or 16,
        zero_points=fields.flag("zero_points"),
        unpacked=_parts(fields),
        bits_of_part=_bits_of_part(fields),
        kv_cache_dtype=fields.optional_text("kv_cache_dtype"),
    )
    fields.done()
    return quantisation


def _block(fields: Fields) -> tuple[int, int] | None:
    if not fields.has("block"):
        return None
    found = fields.plain("block")
    if not isinstance(found, list) or len(found) != _SIDES or not all(type(one) is int and one > 0 for one in found):
        raise fields.problem("block", "must be two whole numbers above zero, for example [128, 128]")
    return found[0], found[1]


def _bits_of_part(fields: Fields) -> dict[Part, int]:
    inner = fields.optional_mapping("bits_of_part")
    if inner is None:
        return {}
    found = {part: bits for part in Part if (bits := inner.optional_positive(part)) is not None}
    inner.done()
    return found


def _parts(fields: Fields) -> tuple[Part, ...]:
    try:
        return tuple(Part(text) for text in fields.texts("unpacked"))
    except ValueError:
        raise fields.problem("unpacked", f"must be a list of {', '.join(Part)}") from None
