"""The longest context of a model, by the rules of the engine.

After vLLM 0.32, transformers_utils/model_arch_config_convertor.py (derive_max_model_len_and_key) and config/model.py
(_get_and_verify_max_len).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kaito_controller.catalog.config_json.values import LARGEST_LENGTH, Values

_NAMES: Final = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length", "max_target_positions",
    "max_sequence_length", "max_seq_length", "seq_len",
)  # fmt: skip
# What the engine assumes when none of them is there.
_ASSUMED: Final = 2048
# Of these, the length written is already the scaled one.
_ALREADY_SCALED: Final = {
    "su",
    "longrope",
    "llama3",
    "yarn",
    "deepseek_yarn",
    "deepseek_llama_scaling",
    "default",
    "mrope",
    "proportional",
}
_LONG_ROPE: Final = {"su", "longrope"}


def token_limit(config: Values, text: Values) -> int:
    """The longest context that may be asked for, in tokens."""
    lengths = [length for name in _NAMES if (length := text.optional(name, largest=LARGEST_LENGTH)) is not None]
    limit = text.optional("model_max_length", largest=LARGEST_LENGTH) or min(lengths, default=_ASSUMED)
    if "gemma3" in config.text("model_type"):
        return limit
    return min(LARGEST_LENGTH, int(limit * _factor(text)))


def unasked_limit(config: Values, text: Values) -> int | None:
    """The length that the engine starts from when none is asked for; None where it is the limit itself.

    Models with LongRoPE serve short texts better without it, so the engine keeps to their original length.
    """
    if any(_kind(one) in _LONG_ROPE for one in _ropes(text)):
        return config.optional("original_max_position_embeddings", largest=LARGEST_LENGTH)
    return None


def _factor(text: Values) -> float:
    factor = 1.0
    for rope in _ropes(text):
        found = rope.raw("factor")
        if _kind(rope) not in _ALREADY_SCALED and isinstance(found, int | float) and found >= 1:
            factor = float(found)
    return factor


def _kind(rope: Values) -> str:
    return rope.text("rope_type", "type") or "default"


def _ropes(text: Values) -> Iterator[Values]:
    for name in ("rope_scaling", "rope_parameters"):
        rope = text.mapping(name)
        if rope is None:
            continue
        if rope.has("rope_type") or rope.has("type"):
            yield rope
        for kind in ("full_attention", "sliding_attention"):
            inner = rope.mapping(kind)
            if inner is not None:
                yield inner
