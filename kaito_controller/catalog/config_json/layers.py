"""Which layer of a model is of which kind, from the ways in which families write it down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from kaito_controller.catalog.architecture import FeedForward, Mixer
from kaito_controller.catalog.config_json.values import ConfigProblem, Values

Mixers = tuple[tuple[Mixer, ...], ...]
FeedForwards = tuple[tuple[FeedForward, ...], ...]

_DENSE: Final = (FeedForward.DENSE,)
_MOE: Final = (FeedForward.MOE,)
_NO_FEED_FORWARD: Final = (FeedForward.NONE,)

# The words of `layer_types` and its relatives.
_WORDS: Final[Mapping[str, tuple[Mixer, ...]]] = {
    "full_attention": (Mixer.FULL,),
    "attention": (Mixer.FULL,),
    "sliding_attention": (Mixer.SLIDING,),
    "chunked_attention": (Mixer.CHUNKED,),
    "linear_attention": (Mixer.GATED_DELTA,),
    "mamba": (Mixer.MAMBA2,),
    "mamba2": (Mixer.MAMBA2,),
    "conv": (Mixer.SHORT_CONV,),
    "hybrid": (Mixer.MAMBA2, Mixer.FULL),
}
# Nemotron-H: each layer is one part only.
_LETTERS: Final = {"M": Mixer.MAMBA2, "*": Mixer.FULL, "-": Mixer.NONE, "E": Mixer.NONE}
_LETTER_FEED_FORWARDS: Final = {"M": _NO_FEED_FORWARD, "*": _NO_FEED_FORWARD, "-": _DENSE, "E": _MOE}
_NEMOTRON_WORDS: Final = {"mamba": "M", "attention": "*", "mlp": "-", "moe": "E"}
# Families whose configs say nothing of the windows that their code has: one full layer after so many sliding ones.
_USUAL_PATTERNS: Final = {"gemma2": 2, "gemma3": 6, "gemma3_text": 6, "cohere2": 4}


def mixers(text: Values, layers: int) -> Mixers:
    """The mixers of every layer.

    Raises:
        ConfigProblem: the config names a kind of layer that is not known, or of another number of layers.
    """
    family = text.text("model_type")
    if text.has("compress_ratios"):
        return ((Mixer.COMPRESSED,),) * layers
    if family in _FAMILIES:
        return _FAMILIES[family](text, layers)
    if text.has("kv_lora_rank"):
        return ((Mixer.LATENT,),) * layers
    listed = text.items("layer_types", layers) or text.items("layers_block_type", layers)
    if listed is not None:
        return tuple(_word(text, str(word)) for word in listed)
    return _windowed(text, layers, family)


def feed_forwards(text: Values, layers: int, experts: int) -> FeedForwards:
    """The feed-forward parts of every layer, given how many experts there are."""
    family = text.text("model_type")
    if family == "nemotron_h":
        return tuple(_LETTER_FEED_FORWARDS[letter] for letter in nemotron_pattern(text, layers))
    if family in {"mamba", "mamba2", "falcon_mamba"}:
        return (_NO_FEED_FORWARD,) * layers
    if family == "zamba2":
        return tuple(_DENSE if Mixer.FULL in parts else _NO_FEED_FORWARD for parts in mixers(text, layers))
    if not experts:
        return (_DENSE,) * layers
    if text.flag("enable_moe_block"):
        return ((FeedForward.DENSE, FeedForward.MOE),) * layers
    return tuple(_MOE if _is_sparse(text, layer, layers) else _DENSE for layer in range(layers))


def nemotron_pattern(text: Values, layers: int) -> str:
    """The letters of Nemotron-H, one a layer.

    Raises:
        ConfigProblem: there are none, or a letter or word is not known.
    """
    listed = text.items("layers_block_type", layers)
    if listed is not None and not isinstance(listed, str):
        pattern = "".join(_NEMOTRON_WORDS.get(str(word), "?") for word in listed)
    else:
        pattern = "".join(text.items("hybrid_override_pattern", layers) or "")
    if not pattern or set(pattern) - set(_LETTERS):
        rule = f"must have one of {' '.join(_LETTERS)} for each layer"
        raise text.problem("hybrid_override_pattern", rule)
    return pattern


def _is_sparse(text: Values, layer: int, layers: int) -> bool:
    """Whether a layer has experts (vLLM, the decoder layers of deepseek_v2, qwen2_moe, jamba, llama4, ernie45_moe)."""
    kinds = text.items("mlp_layer_types", layers)
    if kinds is not None:
        return bool(kinds[layer] == "sparse")
    if text.has("first_k_dense_replace"):
        return layer >= text.count("first_k_dense_replace") and layer % text.number("moe_layer_freq", default=1) == 0
    if text.has("interleave_moe_layer_step"):
        return (layer + 1) % text.number("interleave_moe_layer_step") == 0
    if text.has("expert_layer_period"):
        return layer % text.number("expert_layer_period") == text.count("expert_layer_offset")
    if text.has("moe_layer_start_index"):
        first = text.count("moe_layer_start_index")
        last = text.optional("moe_layer_end_index") or layers - 1
        return first <= layer <= last and (layer + 1) % text.number("moe_layer_interval", default=1) == 0
    dense = text.raw("mlp_only_layers")
    listed = isinstance(dense, list) and layer in dense
    return not listed and (layer + 1) % text.number("decoder_sparse_step", default=1) == 0


def _word(text: Values, word: str) -> tuple[Mixer, ...]:
    if word not in _WORDS:
        raise text.problem("layer_types", f"must be of {', '.join(_WORDS)}")
    return _WORDS[word]


def _windowed(text: Values, layers: int, family: str) -> Mixers:
    """Full attention, or a sliding window in all layers, or in those that a pattern leaves."""
    window = text.optional("sliding_window", largest=10**9)
    if window is None and family == "mistral" and not text.written("sliding_window"):
        window = MISTRAL_WINDOW
    if window is None or (text.written("use_sliding_window") and not text.flag("use_sliding_window")):
        return ((Mixer.FULL,),) * layers
    if family in _USUAL_PATTERNS:
        every = text.number("sliding_window_pattern", "_sliding_window_pattern", default=_USUAL_PATTERNS[family])
        return tuple((Mixer.SLIDING,) if (layer + 1) % every else (Mixer.FULL,) for layer in range(layers))
    first = text.count("max_window_layers") if text.flag("use_sliding_window") else 0
    return ((Mixer.FULL,),) * min(first, layers) + ((Mixer.SLIDING,),) * max(0, layers - first)


# What a Mistral config without the field means (transformers, MistralConfig).
MISTRAL_WINDOW: Final = 4096


def _nemotron(text: Values, layers: int) -> Mixers:
    return tuple((_LETTERS[letter],) for letter in nemotron_pattern(text, layers))


def _alternating(text: Values, layers: int) -> Mixers:
    """Jamba: attention in one layer of a period, Mamba in the others."""
    period, offset = text.number("attn_layer_period"), text.count("attn_layer_offset")
    return tuple((Mixer.FULL,) if layer % period == offset else (Mixer.MAMBA,) for layer in range(layers))


def _bamba(text: Values, layers: int) -> Mixers:
    found = text.raw("attn_layer_indices")
    attention = found if isinstance(found, list) else []
    return tuple((Mixer.FULL,) if layer in attention else (Mixer.MAMBA2,) for layer in range(layers))


def _gated(text: Values, layers: int) -> Mixers:
    """Qwen3-Next and Qwen3.5: the last of each interval has full attention."""
    listed = text.items("layer_types", layers)
    if listed is not None:
        return tuple(_word(text, str(word)) for word in listed)
    every = text.number("full_attention_interval", default=4)
    return tuple((Mixer.GATED_DELTA,) if (layer + 1) % every else (Mixer.FULL,) for layer in range(layers))


def _kimi(text: Values, layers: int) -> Mixers:
    linear = text.mapping("linear_attn_config")
    found = linear.raw("kda_layers") if linear is not None else None
    if not isinstance(found, list):
        raise ConfigProblem("config.json: linear_attn_config.kda_layers: must be a list of layers, found nothing")
    return tuple((Mixer.KIMI_DELTA,) if layer + 1 in found else (Mixer.LATENT,) for layer in range(layers))


def _lightning(text: Values, layers: int) -> Mixers:
    kinds = text.items("attn_type_list", layers) or [1] * layers
    return tuple((Mixer.FULL,) if kind == 1 else (Mixer.LIGHTNING,) for kind in kinds)


def _llama4(text: Values, layers: int) -> Mixers:
    """Chunks in the layers that have rotary positions, which is three of four where nothing is said."""
    listed = text.items("layer_types", layers)
    if listed is not None:
        return tuple(_word(text, str(word)) for word in listed)
    rotary = text.items("no_rope_layers", layers) or [int((layer + 1) % 4 != 0) for layer in range(layers)]
    chunks = text.has("attention_chunk_size")
    return tuple((Mixer.CHUNKED,) if flag and chunks else (Mixer.FULL,) for flag in rotary)


_FAMILIES: Final[Mapping[str, Callable[[Values, int], Mixers]]] = {
    "nemotron_h": _nemotron,
    "jamba": _alternating,
    "bamba": _bamba,
    "qwen3_next": _gated,
    "qwen3_5_text": _gated,
    "qwen3_5_moe_text": _gated,
    "kimi_linear": _kimi,
    "minimax_text_01": _lightning,
    "minimax": _lightning,
    "llama4_text": _llama4,
    "llama4": _llama4,
    "mamba": lambda _, layers: ((Mixer.MAMBA,),) * layers,
    "falcon_mamba": lambda _, layers: ((Mixer.MAMBA,),) * layers,
    "mamba2": lambda _, layers: ((Mixer.MAMBA2,),) * layers,
    "falcon_h1": lambda _, layers: ((Mixer.MAMBA2, Mixer.FULL),) * layers,
    "whisper": lambda _, layers: ((Mixer.FULL, Mixer.CROSS),) * layers,
}
