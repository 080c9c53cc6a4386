"""Every entry of the catalogue: numbers that agree with one another, and where they come from."""

from __future__ import annotations

import pytest

from kaito_controller.catalog.hardware import GPU, SKU
from kaito_controller.catalog.loader import load
from kaito_controller.catalog.model import Preset, Runtime

CATALOG = load()
PRESETS = pytest.mark.parametrize("preset", CATALOG.presets, ids=lambda preset: preset.name)


@PRESETS
def test_every_preset_says_its_licence_and_sources(preset: Preset):
    """Nobody need guess where a number comes from or what a model's licence is."""
    assert preset.licence
    assert preset.sources
    assert preset.sources == tuple(dict.fromkeys(preset.sources))


@PRESETS
def test_models_of_meta_and_gemma_3_need_a_token(preset: Preset):
    """Those are gated on their hub, so a Workspace must name a Secret."""
    assert preset.gated == preset.licence.startswith(("llama", "gemma"))


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
        ("qwen2.5-coder-32b-instruct", "61.03"),
        ("deepseek-r1-distill-qwen-14b", "27.51"),
        ("gemma-3-27b-instruct", "51.10"),
        ("gemma-4-31b-it", "58.25"),
        ("gemma-4-12b-it", "22.28"),
        ("gemma-4-e4b-it", "14.89"),
        ("gemma-4-e2b-it", "9.54"),
        ("qwen3.5-9b", "17.98"),
        ("qwen3.6-35b-a3b", "66.97"),
        ("nvidia-nemotron-nano-9b-v2", "16.56"),
        ("nvidia-nemotron-3-nano-30b-a3b-bf16", "58.82"),
        ("granite-4.1-8b", "16.38"),
    ],
)
def test_weights_agree_with_the_published_files(name: str, gib: str):
    """Sizes agree with those that upstream summed from the hub's file lists."""
    assert gib == f"{CATALOG.preset(name).weights_bytes / 1024**3:.2f}"


@pytest.mark.parametrize(
    "name",
    [
        "phi-4",
        "phi-4-mini-instruct",
        "phi-3-mini-4k-instruct",
        "phi-3-mini-128k-instruct",
        "phi-3-medium-4k-instruct",
        "phi-3-medium-128k-instruct",
        "phi-3.5-mini-instruct",
        "llama-3.1-8b-instruct",
        "llama-3.3-70b-instruct",
        "deepseek-r1-distill-llama-8b",
        "deepseek-r1-distill-qwen-14b",
        "deepseek-r1-0528",
        "deepseek-v3-0324",
        "qwen2.5-coder-7b-instruct",
        "qwen2.5-coder-32b-instruct",
        "gpt-oss-20b",
        "gpt-oss-120b",
        "gemma-3-4b-instruct",
        "gemma-3-27b-instruct",
        "mistral-7b",
        "mistral-7b-instruct",
        "ministral-3-3b-instruct",
        "ministral-3-8b-instruct",
        "ministral-3-14b-instruct",
        "mistral-large-3-675b-instruct",
        "phi-2",
        "falcon-7b",
        "falcon-7b-instruct",
        "falcon-40b",
        "falcon-40b-instruct",
        "llama-2-7b",
        "llama-2-7b-chat",
        "llama-2-13b",
        "llama-2-13b-chat",
        "llama-2-70b",
        "llama-2-70b-chat",
    ],
)
def test_short_names_of_old_manifests_resolve(name: str):
    """A v1alpha1 manifest's short name still names its preset."""
    assert CATALOG.preset(name).name == name


@pytest.mark.parametrize(
    ("name", "model_id"),
    [
        ("gemma-3-4b-instruct", "google/gemma-3-4b-it"),
        ("mistral-7b", "mistralai/Mistral-7B-v0.3"),
        ("ministral-3-8b-instruct", "mistralai/Ministral-3-8B-Instruct-2512"),
        ("mistral-large-3-675b-instruct", "mistralai/Mistral-Large-3-675B-Instruct-2512"),
    ],
)
def test_short_names_stand_for_the_repositories_of_upstream(name: str, model_id: str):
    """Where a short name is not the end of the repository's, it is the one that upstream maps it to."""
    preset = CATALOG.preset(name)

    assert model_id == preset.model_id
    assert preset is CATALOG.preset(model_id.upper()) is CATALOG.preset(model_id.rpartition("/")[2])


@PRESETS
def test_a_preset_can_be_split_by_heads(preset: Preset):
    """Heads of every kind of layer are a multiple of their KV heads."""
    a = preset.architecture
    for shape in a.attention.values():
        assert (shape.heads or a.attention_heads) % (shape.kv_heads or a.kv_heads) == 0


@PRESETS
def test_patterns_end_with_the_layers(preset: Preset):
    """A pattern is no longer than the model is deep, or its end would mean nothing."""
    a = preset.architecture
    assert max(len(a.mixers), len(a.feed_forwards)) <= a.layers


@pytest.mark.parametrize("gpu", CATALOG.gpus, ids=lambda gpu: gpu.name)
def test_every_gpu_says_its_source(gpu: GPU):
    """A GPU has a source, and NVIDIA's what is the same for all of a generation."""
    assert gpu.source
    assert (gpu.resource == "nvidia.com/gpu") == (gpu.compute_capability is not None) == bool(gpu.dtypes)


@pytest.mark.parametrize("gpu", CATALOG.gpus, ids=lambda gpu: gpu.name)
def test_what_a_gpu_offers_is_less_than_its_nominal_memory(gpu: GPU):
    """Neither the driver nor a slice has more than the maker's decimal gigabytes promise by more than rounding."""
    shown = gpu.driver_memory_bytes or gpu.memory_bytes
    assert 0.9 * gpu.memory_bytes < shown <= 1.02 * gpu.memory_bytes
    for part in gpu.partitions:
        assert (part.memory_bytes or 0) * part.per_gpu <= shown
    assert [part.profile for part in gpu.partitions] == list(dict.fromkeys(part.profile for part in gpu.partitions))


def test_dtypes_follow_from_the_compute_capability():
    """bfloat16 begins with 8.0, FP8 with 8.9 and FP4 with 10.0."""
    for gpu in CATALOG.gpus:
        if gpu.compute_capability is not None:
            at = (gpu.compute_capability.major, gpu.compute_capability.minor)
            begins = {"float32": (6, 0), "bfloat16": (8, 0), "fp8": (8, 9), "fp4": (10, 0)}
            assert {name for name, first in begins.items() if at >= first} == set(gpu.dtypes) & set(begins)


@pytest.mark.parametrize("sku", CATALOG.skus, ids=lambda sku: sku.name)
def test_every_instance_type_says_its_source(sku: SKU):
    """An instance type has a source, and NVIDIA's have a compute capability."""
    assert sku.source
    assert (sku.resource == "nvidia.com/gpu") == (sku.compute_capability is not None)
    assert CATALOG.gpu(sku.gpu.name) is sku.gpu


@pytest.mark.parametrize("runtime", CATALOG.runtimes, ids=lambda runtime: runtime.name)
def test_every_runtime_says_its_sources(runtime: Runtime):
    """A runtime says where its capabilities are from."""
    assert runtime.sources


def test_the_older_runtime_serves_v100():
    """The V100 of tutorials has a runtime with kernels for it, and today's has none."""
    capability = CATALOG.gpu("v100-16gb").compute_capability

    assert capability in CATALOG.runtime("vllm-cuda-v100").accelerator.compute_capabilities
    assert capability not in CATALOG.runtime("vllm-cuda").accelerator.compute_capabilities
