"""Every entry of the catalogue: numbers that agree with one another, and where they come from."""

from __future__ import annotations

import pytest

from kaito_controller.catalog.architecture import Architecture
from kaito_controller.catalog.loader import load
from kaito_controller.catalog.model import DTYPE_BYTES, Preset

CATALOG = load()
PRESETS = pytest.mark.parametrize("preset", CATALOG.presets, ids=lambda preset: preset.name)


def gated_mlp_parameters(a: Architecture) -> int:
    """Llama, Mistral, Phi-3: no biases, three MLP matrices, two RMS norms a layer and one at the end."""
    q, kv = a.attention_heads * a.head_dim, a.kv_heads * a.head_dim
    layer = 2 * a.hidden_size * q + 2 * a.hidden_size * kv + 3 * a.hidden_size * a.intermediate_size + 2 * a.hidden_size
    return embeddings(a) + a.layers * layer + a.hidden_size


def phi_parameters(a: Architecture) -> int:
    """Phi-2: every linear layer has a bias, two MLP matrices, one layer norm (weight and bias) a layer."""
    attention = 4 * (a.hidden_size**2 + a.hidden_size)
    mlp = 2 * a.hidden_size * a.intermediate_size + a.intermediate_size + a.hidden_size
    return embeddings(a) + a.vocabulary_size + a.layers * (attention + mlp + 2 * a.hidden_size) + 2 * a.hidden_size


def falcon_parameters(a: Architecture) -> int:
    """Falcon: no biases, two MLP matrices; one layer norm a layer with one KV head, two with several."""
    q, kv = a.attention_heads * a.head_dim, a.kv_heads * a.head_dim
    norms = 1 if a.kv_heads == 1 else 2
    attention = a.hidden_size * (q + 2 * kv) + q * a.hidden_size
    layer = attention + 2 * a.hidden_size * a.intermediate_size + 2 * norms * a.hidden_size
    return embeddings(a) + a.layers * layer + 2 * a.hidden_size


def embeddings(a: Architecture) -> int:
    return a.embedding_parameters * (1 if a.tied_embeddings else 2)


COUNTS = {
    "LlamaForCausalLM": gated_mlp_parameters,
    "MistralForCausalLM": gated_mlp_parameters,
    "Phi3ForCausalLM": gated_mlp_parameters,
    "PhiForCausalLM": phi_parameters,
    "FalconForCausalLM": falcon_parameters,
}


@PRESETS
def test_parameters_follow_from_the_architecture(preset: Preset):
    """The parameter count equals the one computed from layers, widths and heads."""
    assert COUNTS[preset.architecture.name](preset.architecture) == preset.parameters


@PRESETS
def test_weights_are_the_parameters_in_their_precision(preset: Preset):
    """The checkpoint's size is parameters times bytes of its precision."""
    assert preset.parameters * DTYPE_BYTES[preset.dtype] == preset.weights_bytes


@PRESETS
def test_every_preset_says_its_licence_and_sources(preset: Preset):
    """Nobody need guess where a number comes from or what a model's licence is."""
    assert preset.licence
    assert preset.sources
    assert (preset.licence.startswith("llama")) == preset.gated


# Upstream's catalogue (model_catalog.yaml, modelFileSize), in GiB to two digits: a count of the same files.
@pytest.mark.parametrize(
    ("name", "gib"),
    [
        ("phi-4", "27.31"),
        ("phi-4-mini-instruct", "7.15"),
        ("phi-3-mini-4k-instruct", "7.12"),
        ("phi-3-medium-128k-instruct", "26.00"),
        ("phi-3.5-mini-instruct", "7.12"),
        ("llama-3.1-8b-instruct", "14.96"),
        ("llama-3.3-70b-instruct", "131.42"),
        ("mistral-7b", "13.50"),
    ],
)
def test_weights_agree_with_the_published_files(name: str, gib: str):
    """Sizes agree with those that upstream summed from the hub's file lists."""
    assert gib == f"{CATALOG.preset(name).weights_bytes / 1024**3:.2f}"


def test_every_family_of_the_seed_is_there():
    """The families that the first release promises."""
    families = {preset.family for preset in CATALOG.presets}

    assert {"phi-2", "phi-3", "phi-4", "falcon", "mistral", "llama", "test"} <= families


@pytest.mark.parametrize("sku", CATALOG.skus, ids=lambda sku: sku.name)
def test_every_instance_type_says_its_source(sku):
    """An instance type has a source, and NVIDIA's have a compute capability."""
    assert sku.source
    assert (sku.resource == "nvidia.com/gpu") == (sku.compute_capability is not None)
