"""A model from its own files."""

from __future__ import annotations

import pytest

from kaito_controller.catalog.config_json.values import ConfigProblem
from kaito_controller.catalog.from_files import preset_from_files
from kaito_controller.catalog.mistral_params import config_of_params
from kaito_controller.catalog.tensor import Tensor
from kaito_controller.testing.sources.checkpoints import LLAMA


def tensor(dtype: str, *, count: int = 1) -> Tensor:
    return Tensor(name=f"model.{dtype}.weight", dtype=dtype, shape=(4, 2), bytes=16, count=count)


def test_sizes_are_those_of_the_tensors():
    """Alike experts count as often as there are."""
    preset = preset_from_files("org/name", LLAMA, tensors=[tensor("BF16"), tensor("F16", count=3)], revision="abc")
    assert preset.weights_bytes == 4 * 16
    assert preset.parameters == 4 * 8
    assert preset.names == ("org/name", "org/name")
    assert preset.revision == "abc"
    assert preset.token_limit == 128


def test_without_tensors_nothing_is_known_of_the_checkpoint():
    """The weights are counted from the architecture then."""
    preset = preset_from_files("org/name", LLAMA)
    assert preset.weights_bytes == 0
    assert preset.parameters is None


def test_a_packing_that_stands_beside_the_config_counts():
    """But not before the config's own."""
    beside = {"quant_method": "fp8"}
    found = preset_from_files("org/name", LLAMA, quantisation=beside).quantisation
    assert found is not None
    assert found.method == "fp8"
    own = {**LLAMA, "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}
    found = preset_from_files("org/name", own, quantisation=beside).quantisation
    assert found is not None
    assert found.method == "awq"


@pytest.mark.parametrize(("stored", "dtype"), [("F16", "float16"), ("BF16", "bfloat16"), ("F8_E4M3", "bfloat16")])
def test_a_config_without_a_precision_has_that_of_its_tensors(stored: str, dtype: str):
    """Where they are plain numbers."""
    config = {name: value for name, value in LLAMA.items() if name != "torch_dtype"}
    assert preset_from_files("org/name", config, tensors=[tensor(stored)]).dtype == dtype
    assert preset_from_files("org/name", {**config, "dtype": "float16"}, tensors=[tensor(stored)]).dtype == "float16"


def test_the_mistral_format_has_words_of_its_own():
    """For the same numbers."""
    params = {
        "dim": 64,
        "n_layers": 2,
        "n_heads": 4,
        "n_kv_heads": 2,
        "hidden_dim": 128,
        "vocab_size": 32,
        "head_dim": 16,
    }
    preset = preset_from_files("org/name", config_of_params(params))
    assert preset.architecture.name == "MistralForCausalLM"
    assert (preset.architecture.layers, preset.architecture.kv_heads) == (2, 2)
    with pytest.raises(ConfigProblem, match=r"params\.json: moe: is not read here"):
        config_of_params({**params, "moe": {"num_experts": 8}})


def test_a_checkpoint_of_32_bit_numbers_is_served_in_16():
    """As vLLM's dtype auto does: in float32 it would need twice the GPUs."""
    assert preset_from_files("org/name", {**LLAMA, "torch_dtype": "float32"}).dtype == "bfloat16"
