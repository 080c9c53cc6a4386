"""Every entry of the catalogue: numbers that agree with one another, and where they come from."""

from __future__ import annotations

import pytest

from kaito_controller.catalog.loader import load
from kaito_controller.catalog.model import Preset

CATALOG = load()
PRESETS = pytest.mark.parametrize("preset", CATALOG.presets, ids=lambda preset: preset.name)


@PRESETS
def test_every_preset_says_its_licence_and_sources(preset: Preset):
    """Nobody need guess where a number comes from or what a model's licence is."""
    assert preset.licence
    assert preset.sources
    assert (preset.licence.startswith(("llama", "gemma"))) == preset.gated


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
