"""Planning an inference workload: what fits where, and why not."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from kaito_controller.catalog.hardware import GPU, SKU, ComputeCapability
from kaito_controller.catalog.loader import load
from kaito_controller.catalog.model import Preset
from kaito_controller.sizing.inference import DoesNotFit, InferencePlan, Misfit, plan_inference
from kaito_controller.sizing.memory import GIB, Split, kv_bytes_per_token, total, weights_per_gpu
from kaito_controller.sizing.parallelism import can_split, tensor_parallel

CATALOG = load()
CUDA = CATALOG.runtime("vllm-cuda")
CPU = CATALOG.runtime("vllm-cpu-host")
ALONE = evolve(CUDA, name="alone", multi_node=False)
HUB_PRESETS = tuple(preset for preset in CATALOG.presets if preset.weights_folder is None)
NVIDIA_SKUS = tuple(sku for sku in CATALOG.skus if sku.resource == "nvidia.com/gpu")

presets = st.sampled_from(HUB_PRESETS)
skus = st.sampled_from(NVIDIA_SKUS)


def planned(preset: str, sku: str, **options: object) -> InferencePlan:
    plan = plan_inference(CATALOG.preset(preset), CATALOG.sku(sku), runtime=CUDA, **options)  # type: ignore[arg-type]
    assert isinstance(plan, InferencePlan), plan
    return plan


def refused(preset: str, sku: str, **options: object) -> DoesNotFit:
    plan = plan_inference(CATALOG.preset(preset), CATALOG.sku(sku), **{"runtime": CUDA, **options})  # type: ignore[arg-type]
    assert isinstance(plan, DoesNotFit), plan
    return plan


def imaginary(gpus: int, gib: int) -> SKU:
    capability = ComputeCapability(major=9, minor=0)
    gpu = GPU(
        name="x", model="NVIDIA X", vendor="nvidia", resource="nvidia.com/gpu", memory_bytes=gib * GIB,
        compute_capability=capability,
    )  # fmt: skip
    return SKU(name="imaginary", cloud="none", gpu=gpu, gpu_count=gpus)


def test_the_tutorial_example_is_served_in_float16_on_a_v100():
    """phi-3-mini on Standard_NC6s_v3: one node, one GPU, float16 because the GPU is older than 8.0, and it says so."""
    plan = planned("phi-3-mini-4k-instruct", "Standard_NC6s_v3")

    assert (plan.node_count, plan.gpus_per_node, plan.dtype, plan.max_model_len) == (1, 1, "float16", 4096)
    assert [
        part for note in plan.notes for part in ("compute capability 7.0", "served in float16") if part in note
    ] == ["compute capability 7.0", "served in float16"]


def test_bfloat16_stays_from_compute_capability_8():
    """An A100 serves bfloat16 as it is, and nothing needs saying."""
    plan = planned("phi-3-mini-4k-instruct", "Standard_NC24ads_A100_v4")

    assert (plan.dtype, plan.notes) == ("bfloat16", ())


def test_a_cpu_engine_keeps_the_precision_of_the_checkpoint():
    """The emulated GPU's generation does not matter to an engine that does not use it."""
    plan = plan_inference(CATALOG.preset("tiny-phi3"), CATALOG.sku("Standard_NC6s_v3"), runtime=CPU)

    assert isinstance(plan, InferencePlan)
    assert (plan.dtype, plan.node_count, plan.gpus_per_node) == ("float32", 1, 1)


def test_llama_70b_on_one_node_of_two_h100():
    """131 GiB of weights on two GPUs of 94 GiB: split two ways, the full context still fits."""
    plan = planned("llama-3.3-70b-instruct", "Standard_NC80adis_H100_v5")

    assert (plan.node_count, plan.tensor_parallel, plan.pipeline_parallel) == (1, 2, 1)
    assert 2048 <= plan.max_model_len < 131072
    assert plan.max_model_len % 256 == 0


def test_a_model_larger_than_a_node_spans_nodes():
    """falcon-40b on single A100s: two stages on two nodes."""
    plan = planned("falcon-40b", "Standard_NC24ads_A100_v4")

    assert (plan.node_count, plan.tensor_parallel, plan.pipeline_parallel) == (2, 1, 2)


def test_heads_that_do_not_divide_leave_gpus_unused():
    """phi-4 has 10 KV heads, so eight GPUs are used two at most, and the plan says so."""
    plan = planned("phi-4", "Standard_ND96asr_A100_v4")

    assert (plan.tensor_parallel, plan.gpus_per_node) == (2, 2)
    assert plan.notes == (
        "uses 2 of the 8 GPUs of Standard_ND96asr_A100_v4: a model of 40 heads and 10 KV heads is not cut further",
    )


def test_an_a10_gives_a_smaller_share_to_the_engine():
    """The catalogue's own share for a GPU is both planned with and passed on."""
    assert planned("phi-3-mini-4k-instruct", "Standard_NV36ads_A10_v5").gpu_memory_utilization == 0.82


@pytest.mark.parametrize("count", [None, 1])
def test_a_count_of_one_lets_the_plan_decide(count: int | None):
    """Upstream wrote count 1 into every Workspace, so 1 means the same as nothing."""
    assert planned("falcon-40b", "Standard_NC24ads_A100_v4", node_count=count).node_count == 2


def test_a_count_above_one_is_honoured():
    """A model that fits on one node spans as many as were asked for."""
    plan = planned("phi-4", "Standard_NC24ads_A100_v4", node_count=4)

    assert (plan.node_count, plan.pipeline_parallel) == (4, 4)


def test_a_count_too_small_is_refused_with_the_count_that_would_do():
    """The message gives bytes needed and available, and the number of nodes that holds the model."""
    misfit = refused("llama-3.3-70b-instruct", "Standard_NC24ads_A100_v4", node_count=2)

    assert misfit.reason == Misfit.GPU_MEMORY
    assert misfit.needed_bytes > misfit.available_bytes > 0
    assert (3, True) == (misfit.enough_nodes, "give 3 nodes" in misfit.message)


def test_a_model_too_large_for_any_number_of_gpus_is_refused_with_the_bytes():
    """A single GPU too small even for one layer and the overhead."""
    plan = plan_inference(CATALOG.preset("llama-2-70b"), imaginary(1, 4), runtime=CUDA)

    assert isinstance(plan, DoesNotFit)
    assert (Misfit.GPU_MEMORY, int(4 * GIB * 0.84)) == (plan.reason, plan.available_bytes)
    assert f"{plan.needed_bytes / GIB:.2f}Gi" in plan.message
    assert "3.36Gi are available (0.84 of 4.00Gi)" in plan.message


def test_a_context_beyond_the_model_is_refused():
    """max-model-len above the model's limit names the limit and what was found."""
    misfit = refused("phi-2", "Standard_NC24ads_A100_v4", max_model_len=4096)

    assert misfit.reason == Misfit.CONTEXT
    assert misfit.message == "max-model-len must be 1 to 2048, the longest context of phi-2; found 4096"


def test_an_asked_context_is_held_in_full():
    """A longer context takes more nodes where one is not enough."""
    short = planned("phi-3-mini-128k-instruct", "Standard_NV36ads_A10_v5", max_model_len=4096)
    long = planned("phi-3-mini-128k-instruct", "Standard_NV36ads_A10_v5", max_model_len=131072)

    assert (short.max_model_len, long.max_model_len) == (4096, 131072)
    assert 1 == short.node_count < long.node_count


def test_an_accelerator_of_another_vendor_is_refused():
    """The runtime's GPUs and the instance type's must be the same."""
    misfit = refused("phi-4", "Standard_NG32ads_V620_v1")

    assert misfit.reason == Misfit.ACCELERATOR
    assert "AMD Radeon PRO V620 (amd.com/gpu), and runtime vllm-cuda runs on nvidia.com/gpu" in misfit.message


def test_a_gpu_older_than_the_runtime_is_refused():
    """Below the runtime's minimum no plan is made."""
    new = imaginary(1, 80)
    old = evolve(new, gpu=evolve(new.gpu, compute_capability=ComputeCapability(major=6, minor=1)))
    plan = plan_inference(CATALOG.preset("phi-4"), old, runtime=CUDA)

    assert isinstance(plan, DoesNotFit)
    assert plan.reason == Misfit.ACCELERATOR
    assert "compute capability 6.1" in plan.message


def test_a_model_of_no_hub_needs_a_runtime_that_reads_a_folder():
    """The taught model cannot be downloaded."""
    assert refused("tiny-phi3", "Standard_NC6s_v3").reason == Misfit.WEIGHTS


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"runtime": ALONE, "node_count": 2}, "runtime alone serves a model on one node"),
        ({"node_count": 33}, "phi-2 has 32 layers, at least one a node: give at most 32"),
    ],
)
def test_a_count_that_cannot_be_is_refused(options: dict[str, object], part: str):
    """More nodes than a runtime spans, or than the model has layers."""
    misfit = refused("phi-2", "Standard_NC24ads_A100_v4", **options)

    assert misfit.reason == Misfit.NODE_COUNT
    assert part in misfit.message


def test_kv_heads_are_counted_per_tensor_rank():
    """Two ranks hold half the KV heads each; more ranks than KV heads hold one each, never less."""
    architecture = CATALOG.preset("llama-3.3-70b-instruct").architecture
    bytes_of = [kv_bytes_per_token(architecture, "bfloat16", Split(tensor=n, pipeline=1)) for n in (1, 2, 8, 16)]

    assert bytes_of == [327680, 163840, 40960, 40960]


def test_multi_query_attention_is_copied_to_every_rank():
    """falcon-7b has one KV head: its cache takes as much on each GPU however many there are."""
    architecture = CATALOG.preset("falcon-7b").architecture

    assert kv_bytes_per_token(architecture, "bfloat16", Split(tensor=1, pipeline=1)) == 8192


def test_the_weights_of_all_ranks_hold_the_whole_model():
    """Nothing is lost by cutting: the ranks of one stage together hold all weights."""
    preset = CATALOG.preset("llama-3.1-8b-instruct")
    held = weights_per_gpu(preset, "bfloat16", Split(tensor=4, pipeline=1)) * 4

    assert 0 <= held - preset.weights_bytes < 4


@given(preset=presets, sku=skus)
def test_a_plan_never_exceeds_the_memory(preset: Preset, sku: SKU):
    """The ledger's sum is within what the engine may take, entry by entry above zero."""
    plan = plan_inference(preset, sku, runtime=CUDA)

    assume(isinstance(plan, InferencePlan))
    assert total(plan.ledger) <= plan.available_bytes < sku.gpu_memory_bytes
    assert all(entry.bytes > 0 and entry.formula and entry.source for entry in plan.ledger)


@given(preset=presets, sku=skus)
def test_tensor_parallelism_divides_the_heads(preset: Preset, sku: SKU):
    """The engine can always cut the model as planned, and never over more GPUs than a node has."""
    plan = plan_inference(preset, sku, runtime=CUDA)

    assume(isinstance(plan, InferencePlan))
    assert preset.architecture.attention_heads % plan.tensor_parallel == 0
    assert can_split(preset.architecture, plan.tensor_parallel)
    assert plan.tensor_parallel <= sku.gpu_count
    assert 1 <= plan.pipeline_parallel == plan.node_count <= preset.architecture.layers


@given(preset=presets, gpus=st.integers(1, 16), gib=st.integers(4, 141), more=st.integers(1, 64))
def test_more_memory_never_fits_less(preset: Preset, gpus: int, gib: int, more: int):
    """With larger GPUs a model needs as many nodes or fewer, and on as many nodes holds as long a context or longer."""
    small = plan_inference(preset, imaginary(gpus, gib), runtime=CUDA)
    large = plan_inference(preset, imaginary(gpus, gib + more), runtime=CUDA)

    if isinstance(small, InferencePlan):
        assert isinstance(large, InferencePlan)
        assert large.node_count <= small.node_count
        if large.node_count == small.node_count:
            assert large.max_model_len >= small.max_model_len


@given(preset=presets, gpus=st.integers(1, 15), gib=st.integers(8, 141))
def test_more_gpus_never_need_more_nodes(preset: Preset, gpus: int, gib: int):
    """A node with one GPU more holds at least as much."""
    fewer = plan_inference(preset, imaginary(gpus, gib), runtime=CUDA)
    more = plan_inference(preset, imaginary(gpus + 1, gib), runtime=CUDA)

    if isinstance(fewer, InferencePlan):
        assert isinstance(more, InferencePlan)
        assert more.node_count <= fewer.node_count


@given(preset=presets, sku=skus, shares=st.tuples(st.integers(1, 100), st.integers(1, 100)))
def test_a_longer_context_never_needs_fewer_nodes(preset: Preset, sku: SKU, shares: tuple[int, int]):
    """The number of nodes grows with the context that is asked for."""
    short, long = (preset.token_limit * share // 100 or 1 for share in sorted(shares))
    plans = [plan_inference(preset, sku, max_model_len=length, runtime=CUDA) for length in (short, long)]

    counts = [plan.node_count if isinstance(plan, InferencePlan) else 10**6 for plan in plans]
    assert counts == sorted(counts)


@given(preset=presets, gpus=st.integers(1, 16))
def test_one_rank_always_works(preset: Preset, gpus: int):
    """There is a way to cut every model over every number of GPUs."""
    assert can_split(preset.architecture, tensor_parallel(preset.architecture, gpus))
