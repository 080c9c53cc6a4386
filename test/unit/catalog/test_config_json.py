"""Models read from their config.json, which anybody may have written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaito_controller.catalog.architecture import FeedForward, Mixer, read_pattern
from kaito_controller.catalog.config_json.reader import ConfigProblem, ModelConfig, read_config
from kaito_controller.catalog.quantisation import Part
from kaito_controller.testing.tiny_configs import CONFIGS

DENSE: dict[str, Any] = CONFIGS["multi-head"]
LATENT: dict[str, Any] = CONFIGS["latent"]


def read(name: str = "multi-head", **fields: Any) -> ModelConfig:
    return read_config({**CONFIGS[name], **fields})


def mixers(name: str) -> tuple[tuple[Mixer, ...], ...]:
    return read(name).architecture.layer_mixers


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("multi-head", "full"),
        ("window in every layer", "sliding"),
        ("window in every second layer", "sliding full"),
        ("windows five to one", "sliding*5 full sliding*2"),
        ("chunks", "chunked*3 full"),
        ("latent", "mla"),
        ("layers of one part", "mamba2 none mamba2 none mamba2 full mamba2 none"),
        ("first state space", "mamba*2 full mamba"),
        ("attention and state in one layer", "mamba2+full"),
        ("gated delta", "gated_delta*3 full"),
        ("short convolution", "short_conv*2 full short_conv"),
        ("layers that share", "sliding full"),
        ("encoder and decoder", "full+cross"),
    ],
)
def test_every_way_of_attending_is_told(name: str, pattern: str):
    """However a family writes it down, each layer has its mixer."""
    found = mixers(name)
    expected = read_pattern(pattern, Mixer)

    assert found == tuple(expected[index % len(expected)] for index in range(len(found)))


def test_the_first_layers_of_deepseek_are_dense():
    """The others have experts."""
    dense, *rest = read("latent").architecture.layer_feed_forwards

    assert dense == (FeedForward.DENSE,)
    assert set(rest) == {(FeedForward.MOE,)}


def test_multi_query_is_one_head_whatever_stands_beside():
    """Falcon's `num_kv_heads` means nothing without the new decoder architecture."""
    assert read("multi-query").architecture.kv_heads == 1
    assert read("multi-query", new_decoder_architecture=True, num_kv_heads=2).architecture.kv_heads == 2


def test_the_language_model_of_a_multimodal_one_is_read():
    """What lies in `text_config` counts, and the tower for images beside it."""
    tower = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128}
    made = read_config({"architectures": ["Outer"], "text_config": DENSE, "vision_config": tower})

    assert (made.architecture.name, made.architecture.layers) == ("Outer", 4)
    assert made.architecture.vision_parameters == 2 * (4 * 64 * 64 + 2 * 64 * 128)


@pytest.mark.parametrize(
    ("fields", "limit", "unasked"),
    [
        ({}, 65536, None),
        ({"rope_scaling": {"type": "linear", "factor": 4.0}}, 4 * 65536, None),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, 65536, None),
        ({"rope_scaling": {"type": "su"}, "original_max_position_embeddings": 4096}, 65536, 4096),
        ({"max_position_embeddings": None}, 2048, None),
        ({"model_max_length": 1024}, 1024, None),
    ],
)
def test_lengths_are_those_of_the_engine(fields: dict[str, Any], limit: int, unasked: int | None):
    """Scaled where the length written is not yet, and the original one where LongRoPE would harm short texts."""
    made = read(**fields)

    assert (made.token_limit, made.unasked_token_limit) == (limit, unasked)


@pytest.mark.parametrize(
    ("config", "method", "bits", "unpacked"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", 8, ()),
        ({"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}, "mxfp4", 4, ("attention",)),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "gptq", 4, ("head",)),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes", 4, ()),
        (
            {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head", "model.layers.0.self_attn"]},
            "modelopt", 4, ("head",),
        ),
    ],
)  # fmt: skip
def test_packings_are_told(config: dict[str, Any], method: str, bits: int, unpacked: tuple[str, ...]):
    """Method, bits, and the parts that are left as they are in most layers."""
    made = read(quantization_config=config).quantisation

    assert made is not None
    assert (made.method, made.bits, made.unpacked) == (method, bits, tuple(Part(one) for one in unpacked))


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("multi-head", {"num_hidden_layers": 0}, "num_hidden_layers: must be above zero and at most 2000, found 0"),
        ("multi-head", {"num_hidden_layers": 10**9}, "num_hidden_layers: must be above zero and at most 2000"),
        ("multi-head", {"hidden_size": "wide"}, "hidden_size: must be a whole number above zero, found 'wide'"),
        ("multi-head", {"hidden_size": True}, "hidden_size: must be a whole number above zero, found True"),
        ("multi-head", {"vocab_size": None}, "vocab_size: must be given, found nothing"),
        ("multi-head", {"architectures": []}, "architectures: must name the model's class"),
        ("multi-head", {"num_key_value_heads": 3}, "num_key_value_heads: must divide num_attention_heads .4., found 3"),
        ("multi-head", {"layer_types": ["full_attention"]}, "must have one item for each of the 4 layers, found 1"),
        ("multi-head", {"layer_types": ["telepathy"] * 4}, "layer_types: must be of full_attention"),
        ("multi-head", {"quantization_config": {"quant_method": "zip"}}, "packing whose size is known .* found 'zip'"),
        ("latent", {"qk_rope_head_dim": None}, "qk_rope_head_dim: must be given, found nothing"),
        ("layers of one part", {"hybrid_override_pattern": "M-M-M*M?"}, "hybrid_override_pattern: must have one of"),
    ],
)
def test_what_cannot_be_is_an_error(name: str, fields: dict[str, Any], said: str):
    """The message names the field, the rule and what was found."""
    with pytest.raises(ConfigProblem, match=said):
        read(name, **fields)


def test_an_endless_value_is_shown_short():
    """Nobody's log is filled by a config of a gigabyte."""
    with pytest.raises(ConfigProblem) as caught:
        read(hidden_size=["x" * 10**6] * 100)
    assert len(str(caught.value)) < 400


words = st.text("abcdef_", max_size=6)
numbers = st.integers(-2, 10) | st.sampled_from([2**31, 2**64, 10**30, -1, 0]) | st.floats()
values = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
known = sorted({field for config in CONFIGS.values() for field in config} | {"rope_scaling", "quantization_config"})


@settings(deadline=None, max_examples=300)
@given(config=st.sampled_from(sorted(CONFIGS)), changes=st.dictionaries(st.sampled_from(known), values, max_size=3))
def test_anything_is_read_or_refused(config: str, changes: dict[str, Any]):
    """No value makes more of a document than a refusal."""
    try:
        made = read(config, **changes)
    except ConfigProblem:
        return
    assert made.token_limit > 0
    assert len(made.architecture.layer_mixers) == made.architecture.layers


@settings(deadline=None, max_examples=300)
@given(document=st.dictionaries(st.sampled_from(known) | words, values, max_size=12))
def test_a_document_of_anything_is_read_or_refused(document: dict[str, Any]):
    """Neither does a whole one."""
    try:
        read_config(document)
    except ConfigProblem:
        return
