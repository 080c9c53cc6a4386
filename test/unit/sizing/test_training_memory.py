"""The memory of a training run: that it grows with what it is made of, and that what does not fit is refused."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from kaito_controller.catalog.architecture import Mixer
from kaito_controller.catalog.config_json.reader import ConfigProblem, read_config
from kaito_controller.catalog.loader import load
from kaito_controller.catalog.model import Preset
from kaito_controller.sizing.memory import GIB, LedgerEntry, total
from kaito_controller.sizing.misfit import DoesNotFit, Misfit
from kaito_controller.sizing.training_memory import training_ledger
from kaito_controller.sizing.training_options import TrainingOptions
from kaito_controller.sizing.tuning import TuningSize, plan_tuning
from kaito_controller.sizing.usable_memory import seen_memory
from kaito_controller.testing.tiny_configs import CONFIGS

CATALOG = load()
CUDA = CATALOG.runtime("vllm-cuda")
A100 = CATALOG.sku("Standard_NC24ads_A100_v4")
LLAMA = CATALOG.preset("llama-3.1-8b-instruct")
PLANNABLE = [
    preset
    for preset in CATALOG.presets
    if preset.weights_folder is None and (Mixer.COMPRESSED,) not in preset.architecture.mixers
]

options = st.builds(
    TrainingOptions,
    weight_bits=st.sampled_from([None, 4, 8]),
    double_quantisation=st.booleans(),
    rank=st.integers(1, 512),
    batch=st.integers(1, 64),
    length=st.integers(1, 16384),
    checkpointing=st.booleans(),
)


def ledger_of(made: TrainingOptions, *, preset: Preset = LLAMA, gpus: int = 1) -> dict[str, LedgerEntry]:
    return {entry.entry: entry for entry in training_ledger(preset, made, dtype="bfloat16", gpus=gpus)}


def test_a_worked_example():
    """Llama-3.1-8B with rank 8: 8.03e9 weights of 2 bytes, 21 million adapter numbers in four copies of 4 bytes."""
    found = ledger_of(TrainingOptions())

    assert found["weights"].bytes == pytest.approx(8.03e9 * 2, rel=0.01)
    # peft says "trainable params: 20,971,520" of all linear layers of this model at rank 8.
    assert found["adapter, gradients, Adam"].bytes == 20_971_520 * 4 * 4
    assert found["logits"].bytes == 1024 * 128_256 * 16
    assert found["kept activations"].bytes == 32 * 1024 * 4096 * 2


def test_four_bits_are_what_the_paper_says():
    """A 4-bit block of 64 weights with a scale of 8 bits; embeddings in float32 (peft)."""
    found = ledger_of(TrainingOptions(weight_bits=4))
    embeddings = 2 * 128_256 * 4096
    packed = (8.03e9 - embeddings) * (4 + 8 / 64) / 8

    assert found["weights"].bytes == pytest.approx(packed + embeddings * 4, rel=0.01)


@settings(max_examples=100)
@given(made=options, change=st.sampled_from(["rank", "batch", "length"]), more=st.integers(1, 64))
def test_more_takes_more(made: TrainingOptions, change: str, more: int):
    """A larger rank, batch or length never needs less."""
    larger = evolve(made, **{change: getattr(made, change) + more})

    assert sum(entry.bytes for entry in ledger_of(larger).values()) > sum(
        entry.bytes for entry in ledger_of(made).values()
    )


@settings(max_examples=50)
@given(made=options)
def test_fewer_bits_take_less_and_checkpoints_too(made: TrainingOptions):
    """What the remedies of a refusal promise."""
    weights = [ledger_of(evolve(made, weight_bits=bits))["weights"].bytes for bits in (None, 8, 4)]
    kept = [ledger_of(evolve(made, checkpointing=flag))["kept activations"].bytes for flag in (False, True)]

    assert all(before > after for before, after in pairwise(weights))
    assert kept[0] > kept[1]


@settings(max_examples=60)
@given(made=options, gpus=st.integers(2, 8))
def test_more_gpus_do_not_share_the_model(made: TrainingOptions, gpus: int):
    """Each holds a whole copy, and buffers between them come on top."""
    alone, many = ledger_of(made), ledger_of(made, gpus=gpus)

    assert alone["weights"] == many["weights"]
    assert many["outside PyTorch"].bytes > alone["outside PyTorch"].bytes
    assert many["adapter, gradients, Adam"].bytes > alone["adapter, gradients, Adam"].bytes


@settings(max_examples=150)
@given(preset=st.sampled_from(PLANNABLE), made=options, sku=st.sampled_from([s for s in CATALOG.skus if s.gpu_count]))
def test_a_plan_fits_or_says_why_not(preset: Preset, made: TrainingOptions, sku: Any):
    """For every preset on every SKU: a ledger within the GPU, or a sentence with numbers."""
    found = plan_tuning(preset, sku, runtime=CUDA, options=made)

    if isinstance(found, TuningSize):
        assert total(found.ledger) <= found.available_bytes == seen_memory(sku)
        assert all(entry.bytes >= 0 and entry.formula and entry.source for entry in found.ledger)
        assert json.dumps([entry.formula for entry in found.ledger])
    elif found.reason is Misfit.GPU_MEMORY:
        assert found.needed_bytes > found.available_bytes
        assert "Gi on each GPU" in found.message
        assert found.message.count("max_length below") == 1
    else:
        assert found.message


@settings(max_examples=150)
@given(
    config=st.sampled_from(sorted(CONFIGS)),
    changes=st.dictionaries(
        st.sampled_from(["hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size", "num_attention_heads"]),
        st.integers(1, 10**5),
        max_size=3,
    ),
    made=options,
)
def test_any_model_is_planned_or_refused(config: str, changes: dict[str, Any], made: TrainingOptions):
    """Whatever a config.json of a stranger says, there is a size or a sentence."""
    try:
        read = read_config({**CONFIGS[config], **changes})
    except ConfigProblem:
        return
    preset = Preset(
        name="any", family="", model_id="any/any", licence="", token_limit=read.token_limit, dtype=read.dtype,
        quantisation=read.quantisation, weights_bytes=10**9, architecture=read.architecture,
    )  # fmt: skip
    found = plan_tuning(preset, A100, runtime=CUDA, options=made)

    assert isinstance(found, TuningSize) or found.message


def test_a_gpu_that_does_not_compute_in_bfloat16_trains_in_float16():
    """The V100 of tutorials."""
    found = plan_tuning(
        CATALOG.preset("phi-4-mini-instruct"),
        CATALOG.sku("Standard_NC6s_v3"),
        runtime=CATALOG.runtime("vllm-cuda-v100"),
    )

    assert isinstance(found, TuningSize)
    assert found.dtype == "float16"


def test_a_packed_checkpoint_is_unpacked():
    """Packed weights cannot be learnt on, so 20 billion of them take two bytes each."""
    found = plan_tuning(CATALOG.preset("gpt-oss-20b"), A100, runtime=CUDA)

    assert isinstance(found, TuningSize)
    assert found.ledger[0].bytes > 38 * GIB


def test_wrong_gpus_are_refused():
    """A runtime for NVIDIA does not train on AMD."""
    sku = next(one for one in CATALOG.skus if one.resource != "nvidia.com/gpu")
    found = plan_tuning(LLAMA, sku, runtime=CUDA)

    assert isinstance(found, DoesNotFit)
    assert found.reason is Misfit.ACCELERATOR
