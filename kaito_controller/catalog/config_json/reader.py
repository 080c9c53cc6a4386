"""`config.json` → what the catalogue knows of a model.

Families write the same numbers under many names; these are the names that vLLM and transformers read. A kind of layer
that is not known is an error, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from kaito_controller.catalog.architecture import Architecture, Encoder, FeedForward, Mixer
from kaito_controller.catalog.config_json import layers as kinds
from kaito_controller.catalog.config_json import shapes
from kaito_controller.catalog.config_json.lengths import token_limit, unasked_limit
from kaito_controller.catalog.config_json.quantisation import read_quantisation
from kaito_controller.catalog.config_json.values import LARGEST_NUMBER, MOST_LAYERS, ConfigProblem, Values
from kaito_controller.catalog.model import DTYPE_BYTES
from kaito_controller.catalog.quantisation import Quantisation

# Where multimodal models keep the language model.
_TEXT: Final = ("text_config", "llm_config", "language_config", "language_model", "thinker_config")
# Families whose two embeddings are one matrix unless the config says otherwise (transformers, configuration classes).
_TIED: Final = {
    "bloom", "cohere", "cohere2", "falcon", "gemma", "gemma2", "gemma3", "gemma3_text", "gemma3n", "gemma3n_text",
    "gemma4", "gemma4_text", "gpt2", "gpt_bigcode", "lfm2", "lfm2_moe", "mamba", "mpt", "opt", "starcoder2", "whisper",
}  # fmt: skip
# Families whose feed-forward parts are two matrices with a plain activation between.
_PLAIN: Final = {
    "arcee", "bloom", "falcon", "gpt2", "gpt_bigcode", "gpt_neox", "gptj", "mpt", "nemotron", "nemotron_h", "opt",
    "persimmon", "phi", "starcoder2", "whisper",
}  # fmt: skip
# Families that look up the position of a token in a matrix.
_LEARNED: Final = {"gpt2", "opt", "gpt_bigcode", "whisper"}
_GATED_ATTENTION: Final = {"qwen3_next"}
_DTYPES: Final = {"float": "float32", "half": "float16"}


@frozen(kw_only=True)
class ModelConfig:
    """What a `config.json` says of a model.

    `token_limit` is the longest context in tokens; `unasked_token_limit` the one that the engine starts from when none
    is asked for, where that is shorter. `dtype` is what the model is computed in.
    """

    architecture: Architecture
    quantisation: Quantisation | None
    dtype: str
    token_limit: int
    unasked_token_limit: int | None


def read_config(document: Mapping[str, Any]) -> ModelConfig:
    """What a decoded `config.json` says.

    Raises:
        ConfigProblem: a number is missing, absurd or contradicts another, or a part is of an unknown kind.
    """
    config = Values(document)
    text = _text(config)
    layers = _layers(text)
    architecture = _architecture(config, text, layers)
    return ModelConfig(
        architecture=architecture,
        quantisation=read_quantisation(config, text, layers),
        dtype=_dtype(config, text),
        token_limit=token_limit(config, text),
        unasked_token_limit=unasked_limit(config, text),
    )


def _layers(text: Values) -> int:
    names = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers")
    listed = text.raw("layers_block_type", "hybrid_override_pattern")
    counted = len(listed) if isinstance(listed, list | str) and 0 < len(listed) <= MOST_LAYERS else None
    return text.number(*names, default=counted, largest=MOST_LAYERS)


def _text(config: Values) -> Values:
    for name in _TEXT:
        inner = config.mapping(name)
        if inner is not None:
            return _text(inner) if inner.mapping("text_config") is not None else inner
    return config


def _architecture(config: Values, text: Values, layers: int) -> Architecture:
    hidden = text.number("hidden_size", "n_embd", "d_model", "dim")
    heads = shapes.attention_heads(text)
    experts = shapes.experts(text)
    mixers = kinds.mixers(text, layers)
    used = {part for parts in mixers for part in parts}
    feed_forwards = kinds.feed_forwards(text, layers, experts.count if experts else 0)
    dense = any(FeedForward.DENSE in parts for parts in feed_forwards)
    family = text.text("model_type")
    made = Architecture(
        name=_name(config, text),
        layers=layers,
        hidden_size=hidden,
        vocabulary_size=text.number("vocab_size", "padded_vocab_size"),
        attention_heads=heads,
        kv_heads=shapes.kv_heads(text, heads) if heads > 1 else 1,
        head_dim=shapes.head_dim(text, hidden, heads),
        intermediate_size=_dense_width(text, hidden) if dense else None,
        tied_embeddings=_tied(config, text, family),
        mixers=_shortest(mixers),
        feed_forwards=_shortest(feed_forwards),
        attention=shapes.attention_shapes(text, used),
        latent=shapes.latent_shape(text) if Mixer.LATENT in used else None,
        states=shapes.states(text, used, hidden),
        experts=experts if any(FeedForward.MOE in parts for parts in feed_forwards) else None,
        encoder=_encoder(text),
        kv_shared_layers=min(text.count("num_kv_shared_layers"), layers - 1),
        gated_mlp=family not in _PLAIN,
        attention_gate=text.flag("attn_output_gate", default=family in _GATED_ATTENTION),
        per_layer_embedding=text.count("hidden_size_per_layer_input") or None,
        per_layer_vocabulary=text.count("vocab_size_per_layer_input") or None,
        position_embeddings=_positions(text, family),
        vision_parameters=_vision(config),
    )
    _agree(made, text)
    return made


def _positions(text: Values, family: str) -> int | None:
    names = ("max_position_embeddings", "n_positions", "max_target_positions")
    return text.optional(*names) if family in _LEARNED else None


def _name(config: Values, text: Values) -> str:
    for values in (config, text):
        found = values.raw("architectures")
        if isinstance(found, list) and found and isinstance(found[0], str):
            return found[0]
    raise ConfigProblem("config.json: architectures: must name the model's class, found nothing")


def _dense_width(text: Values, hidden: int) -> int:
    found = text.raw("intermediate_size")
    if isinstance(found, list) and found and all(type(one) is int and 0 < one <= LARGEST_NUMBER for one in found):
        return int(max(found))
    names = ("intermediate_size_mlp", "intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "decoder_ffn_dim")
    width = text.number(*names, "block_ff_dim", "hidden_dim", "shared_intermediate_size", default=4 * hidden)
    if text.flag("block_auto_adjust_ff_dim") and not text.has("intermediate_size"):
        multiple = text.number("block_multiple_of", default=256)
        width = -(-(2 * width // 3) // multiple) * multiple
    return width


def _tied(config: Values, text: Values, family: str) -> bool:
    for values in (config, text):
        if values.written("tie_word_embeddings"):
            return values.flag("tie_word_embeddings")
    return family in _TIED


def _dtype(config: Values, text: Values) -> str:
    found = config.text("torch_dtype", "dtype") or text.text("torch_dtype", "dtype")
    found = _DTYPES.get(found, found.removeprefix("torch."))
    return found if found in DTYPE_BYTES else "bfloat16"


def _encoder(text: Values) -> Encoder | None:
    if text.text("model_type") != "whisper":
        return None
    return Encoder(
        layers=text.number("encoder_layers", largest=MOST_LAYERS),
        hidden_size=text.number("d_model"),
        intermediate_size=text.number("encoder_ffn_dim"),
        attention_heads=text.number("encoder_attention_heads"),
        positions=text.number("max_source_positions"),
    )


def _vision(config: Values) -> int | None:
    """Roughly the parameters of a vision tower: its attention and feed-forward matrices, which are nearly all of it."""
    vision = config.mapping("vision_config")
    if vision is None:
        return None
    names = (("hidden_size", "embed_dim", "vt_hidden_size"), ("num_hidden_layers", "depth", "vt_num_hidden_layers"))
    width, depth = (vision.optional(*one, largest=10**5) for one in names)
    inner = vision.optional("intermediate_size", "vt_intermediate_size", largest=10**6)
    if width is None or depth is None:
        return None
    return depth * (4 * width * width + 2 * width * (inner or 4 * width))


def _shortest(pattern: Any) -> Any:
    """The shortest beginning of a pattern that gives all of it when repeated."""
    for size in range(1, len(pattern)):
        if all(one == pattern[index % size] for index, one in enumerate(pattern)):
            return pattern[:size]
    return pattern


def _agree(made: Architecture, text: Values) -> None:
    if made.attention_heads % made.kv_heads and Mixer.LATENT not in made.mixer_kinds:
        raise ConfigProblem(
            f"config.json: num_key_value_heads: must divide num_attention_heads ({made.attention_heads}), "
            f"found {made.kv_heads}"
        )
    if (
        not text.has("head_dim")
        and made.hidden_size % made.attention_heads
        and made.latent is None
        and made.attention_heads > 1
        and not made.states
    ):
        raise ConfigProblem(
            f"config.json: hidden_size: must be a multiple of num_attention_heads ({made.attention_heads}) where "
            f"head_dim is not given, found {made.hidden_size}"
        )
