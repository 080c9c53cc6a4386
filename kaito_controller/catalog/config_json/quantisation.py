"""How a checkpoint is packed, from `quantization_config`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from kaito_controller.catalog.config_json.values import ConfigProblem, Values
from kaito_controller.catalog.quantisation import Part, Quantisation

_EIGHT: Final = 8
_FOUR: Final = 4
_FULL: Final = 32
_HALF: Final = 16
# What the names of unpacked modules say of a part.
_WORDS: Final = (
    (Part.HEAD, re.compile(r"lm_head|output_layer|embed_out")),
    (Part.EMBEDDINGS, re.compile(r"embed_tokens|word_embeddings")),
    (Part.VISION, re.compile(r"vision|visual|mm_projector|multi_modal|embed_vision|audio")),
    (Part.SHARED_EXPERTS, re.compile(r"shared_expert")),
    (Part.ROUTER, re.compile(r"router|mlp\.gate\b|mlp\.gate$|block_sparse_moe\.gate|\.gate$")),
    (Part.STATE, re.compile(r"linear_attn|mixer|mamba|conv1d")),
    (Part.ATTENTION, re.compile(r"self_attn|attention")),
    (Part.DENSE, re.compile(r"mlp.*(gate|up|gate_up|down)|feed_forward")),
)
_LAYER: Final = re.compile(r"layers\.(\d+)\.")


def read_quantisation(config: Values, text: Values, layers: int) -> Quantisation | None:
    """The packing that a config names; None for a checkpoint in plain numbers.

    Raises:
        ConfigProblem: the packing is one whose size is not known.
    """
    found = next(
        (
            mapping
            for values in (config, text)
            for name in ("quantization_config", "compression_config")
            if (mapping := values.mapping(name)) is not None
        ),
        None,
    )
    if found is None:
        return None
    method = found.text("quant_method").lower().replace("compressed_tensors", "compressed-tensors")
    method = method or ("modelopt" if (found.mapping("producer") or Values({})).text("name") == "modelopt" else "")
    return _packed(method, found, _unpacked(found, layers))


def _packed(method: str, found: Values, unpacked: tuple[Part, ...]) -> Quantisation:
    cache = _cache_dtype(found)
    if method in {"fp8", "fbgemm_fp8", "deepseek_v4_fp8"}:
        block = _block(found.raw("weight_block_size"))
        scale = _FULL if block else _HALF
        return Quantisation(method=method, bits=_EIGHT, block=block, scale_bits=scale, unpacked=unpacked)
    if method in {"mxfp4", "gpt_oss_mxfp4"}:
        kept = unpacked or (Part.ATTENTION, Part.ROUTER, Part.EMBEDDINGS, Part.HEAD)
        return Quantisation(method="mxfp4", bits=_FOUR, group_size=32, scale_bits=8, unpacked=kept)
    if method in {"gptq", "awq", "gptq_marlin", "awq_marlin", "auto-round", "autoround", "inc"}:
        return _grouped(method, found, unpacked)
    if method == "bitsandbytes":
        four = found.flag("load_in_4bit") or found.flag("_load_in_4bit")
        return Quantisation(
            method=method, bits=_FOUR if four else _EIGHT, group_size=64 if four else None, unpacked=unpacked
        )
    if method in {"compressed-tensors", "modelopt", "modelopt_fp4", "modelopt_mixed"}:
        return _compressed(method, found, unpacked, cache)
    raise ConfigProblem(
        f"config.json: quantization_config.quant_method: must be a packing whose size is known (fp8, mxfp4, gptq, awq, "
        f"bitsandbytes, compressed-tensors, modelopt), found '{method[:40]}'"
    )


def _grouped(method: str, found: Values, unpacked: tuple[Part, ...]) -> Quantisation:
    size = found.raw("group_size", "q_group_size")
    group = size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else None
    return Quantisation(
        method=method,
        bits=found.number("bits", "w_bit", default=_FOUR),
        group_size=group,
        zero_points=True,
        unpacked=(*unpacked, Part.HEAD) if Part.HEAD not in unpacked and not found.flag("lm_head") else unpacked,
    )


def _compressed(method: str, found: Values, unpacked: tuple[Part, ...], cache: str | None) -> Quantisation:
    weights = _first_weights(found)
    algorithm = (found.text("quant_algo") or (found.mapping("quantization") or Values({})).text("quant_algo")).upper()
    bits = weights.optional("num_bits") if weights is not None else None
    if bits is None:
        bits = _FOUR if "FP4" in algorithm or "W4" in algorithm else _EIGHT
    group = weights.optional("group_size") if weights is not None else None
    if group is None and "FP4" in algorithm:
        group = 16
    # NVFP4 keeps 8-bit scales for groups of 16.
    floating = weights is not None and weights.text("type") == "float"
    scale = _EIGHT if bits == _FOUR and (floating or "FP4" in algorithm) else _HALF
    block = _block(weights.raw("block_structure") if weights is not None else None)
    return Quantisation(
        method=method,
        bits=bits,
        group_size=None if block else group,
        block=block,
        scale_bits=_FULL if block else scale,
        unpacked=unpacked,
        kv_cache_dtype=cache,
    )


def _first_weights(found: Values) -> Values | None:
    groups = found.raw("config_groups")
    if not isinstance(groups, dict):
        return None
    for group in groups.values():
        if isinstance(group, dict) and isinstance(group.get("weights"), dict):
            return Values(group["weights"], "quantization_config.config_groups")
    return None


def _cache_dtype(found: Values) -> str | None:
    scheme = found.mapping("kv_cache_scheme")
    if scheme is not None and scheme.optional("num_bits") == _EIGHT and scheme.text("type") in {"", "float"}:
        return "fp8"
    return "fp8" if found.text("kv_cache_quant_algo").upper() == "FP8" else None


def _block(found: Any) -> tuple[int, int] | None:
    if isinstance(found, list) and [type(side) for side in found] == [int, int] and min(found) > 0:
        return found[0], found[1]
    return None


def _unpacked(found: Values, layers: int) -> tuple[Part, ...]:
    """The parts that are left as they are in most layers: a part that only a few layers keep counts as packed."""
    names = found.raw("modules_to_not_convert", "ignore", "ignored_layers", "exclude_modules", "llm_int8_skip_modules")
    nested = (found.mapping("quantization") or Values({})).raw("exclude_modules")
    listed = [name for group in (names, nested) if isinstance(group, list) for name in group if isinstance(name, str)]
    return tuple(part for part, words in _WORDS if _in_most(listed, words, layers))


def _in_most(names: Sequence[str], words: re.Pattern[str], layers: int) -> bool:
    matched = [name for name in names if (found := words.search(name)) and not _earlier(name, words, found.start())]
    numbered = {match.group(1) for name in matched if (match := _LAYER.search(name))}
    return len(matched) > 0 and (any(not _LAYER.search(name) for name in matched) or len(numbered) * 2 > layers)


def _earlier(name: str, words: re.Pattern[str], start: int) -> bool:
    """Whether another part before this one in the list claims the name."""
    for _, others in _WORDS:
        if others is words:
            return False
        if others.search(name):
            return True
    return start < 0
