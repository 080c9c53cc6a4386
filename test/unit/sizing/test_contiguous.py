"""The plan for an engine with one contiguous cache: never less than what its tensors take."""

from __future__ import annotations

import pytest

from kaito_controller.catalog.loader import load
from kaito_controller.catalog.model import DTYPE_BYTES, EngineName
from kaito_controller.sizing.flags import EngineFlags
from kaito_controller.sizing.inference import DoesNotFit, InferencePlan, Misfit, plan_inference
from kaito_controller.sizing.memory import total

CATALOG = load()
RUNTIME = CATALOG.runtime("transformers-cuda")
VLLM = CATALOG.runtime("vllm-cuda")
A100 = CATALOG.sku("Standard_NC24ads_A100_v4")
PLAIN = [preset for preset in CATALOG.presets if preset.quantisation is None and preset.weights_folder is None]


def planned(name: str, **more) -> InferencePlan:
    made = plan_inference(CATALOG.preset(name), A100, runtime=RUNTIME, **more)
    assert isinstance(made, InferencePlan), made
    return made


def entry(plan: InferencePlan, name: str) -> int:
    return next(one.bytes for one in plan.ledger if one.entry == name)


def test_the_runtimes_are_told_apart_by_their_engine():
    """Those for CUDA and those for the CPU."""
    found = {one.name: one.engine for one in CATALOG.runtimes}
    assert {name for name, engine in found.items() if engine is EngineName.TRANSFORMERS} == {
        "transformers-cuda",
        "transformers-cpu-host",
    }


def test_the_ledger_holds_the_tensors_and_fits():
    """Llama 3.1 8B: all weights on one GPU, and at least keys and values of every layer for every token."""
    plan = planned("llama-3.1-8b-instruct")
    assert (plan.node_count, plan.gpus_per_node, plan.tensor_parallel) == (1, 1, 1)
    assert entry(plan, "weights") == 16060522496
    # 32 layers x 8 heads x 128 x keys and values x 2 bytes.
    assert entry(plan, "KV cache") > plan.max_model_len * 131072
    assert total(plan.ledger) <= plan.available_bytes
    assert plan.max_model_len > 32768


def test_a_longer_context_takes_more_and_the_longest_is_found():
    """One token more than the plan would not fit, unless the model ends there."""
    found = planned("phi-4", max_model_len=16384)
    assert found.max_model_len == 16384
    small = CATALOG.sku("Standard_NV36ads_A10_v5")
    plan = plan_inference(CATALOG.preset("llama-3.1-8b-instruct"), small, runtime=RUNTIME)
    assert isinstance(plan, InferencePlan)
    longer = plan_inference(
        CATALOG.preset("llama-3.1-8b-instruct"), small, runtime=RUNTIME, max_model_len=plan.max_model_len + 1
    )
    assert isinstance(longer, DoesNotFit)
    assert longer.reason is Misfit.GPU_MEMORY
    assert "keeps a model on one GPU" in longer.message


@pytest.mark.parametrize("preset", PLAIN, ids=lambda preset: preset.name)
def test_it_never_holds_more_than_vllm_would_on_that_gpu(preset):
    """Conservative: whatever fits here, fits there, with at least as long a context on one GPU."""
    here = plan_inference(preset, A100, runtime=RUNTIME)
    if isinstance(here, DoesNotFit):
        assert here.message
        return
    flags = EngineFlags(tensor_parallel_size=1, pipeline_parallel_size=1)
    there = plan_inference(preset, A100, runtime=VLLM, flags=flags, max_model_len=here.max_model_len)
    assert isinstance(there, InferencePlan), there


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (EngineFlags(enable_lora=True), "adapters"),
        (EngineFlags(tensor_parallel_size=2), "tensor-parallel-size"),
        (EngineFlags(quantization="fp8"), "quantization"),
        (EngineFlags(kv_cache_dtype="fp8"), "kv-cache-dtype"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(flags, told):
    """With the remedy."""
    made = plan_inference(CATALOG.preset("phi-4-mini-instruct"), A100, runtime=RUNTIME, flags=flags)
    assert isinstance(made, DoesNotFit)
    assert (made.reason, told in made.message) == (Misfit.ENGINE, True)
    assert "vLLM" in made.message


def test_weights_in_32_bits_take_twice_the_room():
    """The precision asked for is the one that is counted."""
    half, whole = planned("phi-4-mini-instruct"), planned("phi-4-mini-instruct", flags=EngineFlags(dtype="float32"))
    assert entry(whole, "weights") == entry(half, "weights") * DTYPE_BYTES["float32"] // DTYPE_BYTES[half.dtype]
