"""What the pinned engine serves, and what is told of what it does not."""

from __future__ import annotations

import pytest

from kaito_controller.catalog import loader
from kaito_controller.catalog.engines import Engine, UnsupportedArchitectureError, load_engine, read_engine
from kaito_controller.catalog.fields import CatalogError


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load_engine()


def test_every_preset_has_an_architecture_that_is_served(engine: Engine):
    """Or the catalogue and the pin have come apart."""
    assert {preset.architecture.name for preset in loader.load().presets} - engine.kinds.keys() == set()


def test_the_first_architecture_that_is_served_counts(engine: Engine):
    """A model may name several; one that only drafts for others is none."""
    assert engine.architecture(["NoSuchModel", "LlamaForCausalLM"]) == "LlamaForCausalLM"
    assert engine.kinds["LlamaForCausalLM"] == "text_generation"
    assert engine.kinds["EagleLlamaForCausalLM"] == "draft"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("LlamaForCausalM", "found 'LlamaForCausalM'; nearest names: LlamaForCausalLM"),
        ("llamaforcausallm", "nearest names: LlamaForCausalLM"),
        ("MotifForCausalLM", "which vLLM had until 0.10.2"),
        ("BartModel", "which needs a runtime with the plugin https://"),
        ("EagleLlamaForCausalLM", "which only drafts for another model"),
        ("\x1b[31m" + "x" * 10_000, "found '\\x1b[31mxxx"),
    ],
)
def test_what_is_not_served_is_told(engine: Engine, name: str, why: str):
    """With what to do, and never longer than a condition can be."""
    with pytest.raises(UnsupportedArchitectureError) as caught:
        engine.architecture([name])
    assert why in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_model_without_architectures_is_told(engine: Engine):
    """Its config.json says nothing of what it is."""
    with pytest.raises(UnsupportedArchitectureError, match="must name the model's class"):
        engine.architecture([])


@pytest.mark.parametrize("version", ["0.0.1", "../../presets/test", ""])
def test_there_is_no_list_of_other_versions(version: str):
    """A version is no path."""
    with pytest.raises(LookupError, match="is in the catalogue"):
        load_engine(version)


def test_a_wrong_file_is_told():
    """As any file of the catalogue."""
    with pytest.raises(CatalogError, match=r"engines/x\.yaml:1: architectures: must be given"):
        read_engine(loader.document_of("engines/x.yaml", "name: vllm\nversion: 1.2.3\n"))
