"""Models in the catalogue's terms, from their own files."""

from __future__ import annotations

import pytest

from kaito_controller.catalog.engines import load_engine
from kaito_controller.catalog.tensor import Tensor
from kaito_controller.sources.described import described
from kaito_controller.sources.errors import SourceError, Trouble
from kaito_controller.sources.model_files import ModelFiles
from kaito_controller.testing.sources.checkpoints import LLAMA

ENGINE = load_engine()
TENSOR = Tensor(name="model.embed_tokens.weight", dtype="BF16", shape=(32, 8), bytes=512)


def files(*, tensors=(TENSOR,), unsized="", **config):
    """Return what was read of a model."""
    return ModelFiles(
        model_id="acme/Tiny-Model",
        revision="c" * 40,
        source="a hub",
        config={**LLAMA, **config},
        tensors=tensors,
        unsized=unsized,
    )


def test_a_model_becomes_a_preset():
    """Sizes are those of its tensors, everything else of its config, and both say where they are from."""
    preset = described(files(), ENGINE)
    assert (preset.model_id, preset.revision) == ("acme/Tiny-Model", "c" * 40)
    assert (preset.weights_bytes, preset.token_limit, preset.dtype) == (512, 128, "bfloat16")
    assert (preset.architecture.layers, preset.architecture.kv_heads) == (2, 1)
    assert preset.sources == (f"a hub @ {'c' * 40}",)


@pytest.mark.parametrize(
    ("read", "trouble", "said"),
    [
        (files(hidden_size=-8), Trouble.MALFORMED, "hidden_size"),
        (files(num_attention_heads=3, num_key_value_heads=2), Trouble.MALFORMED, "num_key_value_heads"),
        (files(architectures=["LlamaForCausalLMs"]), Trouble.UNSUPPORTED, "nearest names: LlamaForCausalLM"),
        (files(architectures=[]), Trouble.UNSUPPORTED, "architectures"),
        (files(architectures="Llama"), Trouble.UNSUPPORTED, "architectures"),
        (files(tensors=(), unsized="its weights are pickles"), Trouble.UNSUPPORTED, "its weights are pickles"),
    ],
)
def test_a_model_that_cannot_be_planned_says_why(read, trouble, said):
    """One sentence with the model, the field and what is wrong with it."""
    with pytest.raises(SourceError) as caught:
        described(read, ENGINE)
    assert caught.value.trouble is trouble
    assert str(caught.value).startswith("acme/Tiny-Model: ")
    assert said in str(caught.value)
