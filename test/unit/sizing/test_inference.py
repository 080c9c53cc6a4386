"""Planning an inference workload: what fits where, and why not."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kaito_controller.catalog.architecture import Mixer
from kaito_controller.catalog.hardware import GPU, SKU, ComputeCapability
from kaito_controller.catalog.loader import load
from kaito_controller.catalog.model import Preset
from kaito_controller.sizing.flags import EngineFlags, read_flags
from kaito_controller.sizing.inference import DoesNotFit, InferencePlan, Misfit, plan_inference
from kaito_controller.sizing.memory import GIB, MIB, total
from kaito_controller.sizing.parallelism import obstacles
from kaito_controller.sizing.slices import UnknownSlice, sliced

CATALOG = load()
CUDA = CATALOG.runtime("vllm-cuda")
V100 = CATALOG.runtime("vllm-cuda-v100")
CPU = CATALOG.runtime("vllm-cpu-host")
ALONE = evolve(CUDA, name="alone", multi_node=False)
HUB_PRESETS = tuple(
    preset
    for preset in CATALOG.presets
    if preset.weights_folder is None and (Mixer.COMPRESSED,) not in preset.architecture.mixers
)
# The engine takes larger batches on larger GPUs, and more memory for them; here they are always the same.
BATCHES = EngineFlags(max_num_seqs=256, max_num_batched_tokens=2048)
NVIDIA_SKUS = tuple(sku for sku in CATALOG.skus if sku.resource == "nvidia.com/gpu")

presets = st.sampled_from(HUB_PRESETS)
skus = st.sampled_from(NVIDIA_SKUS)


def planned(preset: str, sku: str, **options: object) -> InferencePlan:
    plan = plan_inference(CATALOG.preset(preset), CATALOG.sku(sku), **{"runtime": CUDA, **options})  # type: ignore[arg-type]
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
    plan = planned("phi-3-mini-4k-instruct", "Standard_NC6s_v3", runtime=V100)

    assert (plan.node_count, plan.gpus_per_node, plan.dtype, plan.max_model_len) == (1, 1, "float16", 4096)
    assert plan.notes == ("served in float16: NVIDIA V100 does not compute in bfloat16",)


def test_no_runtime_no_fit():
    """Today's runtime holds no programs for a V100, and says which GPUs it does hold them for."""
    misfit = refused("phi-3-mini-4k-instruct", "Standard_NC6s_v3")

    assert misfit.reason == Misfit.ACCELERATOR
    assert "compute capability 7.0, and runtime vllm-cuda holds programs for 7.5, 8.0" in misfit.message


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
    assert plan.max_model_len <= plan.kv_tokens < plan.max_model_len + 2 * 16


def test_a_model_larger_than_a_node_spans_nodes():
    """falcon-40b on single A100s: two stages on two nodes."""
    plan = planned("falcon-40b", "Standard_NC24ads_A100_v4")

    assert (plan.node_count, plan.tensor_parallel, plan.pipeline_parallel) == (2, 1, 2)


def test_heads_that_do_not_divide_give_copies_to_the_rest():
    """phi-4 has 10 KV heads, so it is cut in two, and eight GPUs hold four copies."""
    plan = planned("phi-4", "Standard_ND96asr_A100_v4")

    assert (plan.tensor_parallel, plan.data_parallel, plan.gpus_per_node) == (2, 4, 8)


def test_where_copies_are_not_run_gpus_are_left_unused():
    """A runtime that runs one copy uses two of the eight GPUs, and the plan says so."""
    plan = planned("phi-4", "Standard_ND96asr_A100_v4", runtime=evolve(CUDA, data_parallel=False))

    assert (plan.tensor_parallel, plan.gpus_per_node) == (2, 2)
    assert plan.notes == (
        "uses 2 of the 8 GPUs of Standard_ND96asr_A100_v4: a model of 40 heads and 10 KV heads is not cut further",
    )


def test_a_small_model_is_copied_to_every_gpu():
    """A model below half of a GPU that holds its longest context there is not cut at all."""
    plan = planned("phi-3-mini-4k-instruct", "Standard_ND96isr_H100_v5")

    assert (plan.tensor_parallel, plan.data_parallel, plan.max_model_len) == (1, 8, 4096)


def test_experts_are_not_copied():
    """Copies of a model with experts share them, which is not planned: it is cut as far as it can be."""
    plan = planned("qwen3-30b-a3b", "Standard_ND96isr_H100_v5")

    assert (plan.tensor_parallel, plan.data_parallel) == (8, 1)


def test_a_length_that_the_engine_would_not_take_by_itself_is_said():
    """Models with LongRoPE start at their original length unless a longer one is asked for."""
    preset = evolve(CATALOG.preset("phi-3-mini-128k-instruct"), unasked_token_limit=4096)
    sku = CATALOG.sku("Standard_NC24ads_A100_v4")
    unasked = plan_inference(preset, sku, runtime=CUDA)
    asked = plan_inference(preset, sku, runtime=CUDA, max_model_len=131072)

    assert isinstance(unasked, InferencePlan)
    assert isinstance(asked, InferencePlan)
    assert (unasked.max_model_len, asked.max_model_len) == (4096, 131072)
    assert "keeps to 4096 tokens unless max-model-len asks for more, up to 131072" in unasked.notes[0]


def test_requests_at_a_time_are_held():
    """More requests of a length need more nodes where one does not hold them."""
    sku, options = "Standard_NV36ads_A10_v5", {"max_model_len": 4096}
    one = planned("phi-3-mini-4k-instruct", sku, **options)
    many = planned("phi-3-mini-4k-instruct", sku, **options, concurrency=int(one.requests) + 1)

    assert (one.node_count, many.node_count) == (1, 2)
    assert many.requests >= int(one.requests) + 1


def test_flags_of_the_user_are_planned_with():
    """Ranks, share, length and the precision of the cache as asked."""
    flags = read_flags(
        {
            "tensor-parallel-size": 2,
            "gpu_memory_utilization": 0.9,
            "max-model-len": 8192,
            "kv-cache-dtype": "fp8",
            "enforce-eager": True,
            "enable-lora": True,
            "max-loras": 4,
            "max-lora-rank": 32,
        }
    )
    plan = planned("llama-3.1-8b-instruct", "Standard_ND96isr_H100_v5", flags=flags)
    entries = [entry.entry for entry in plan.ledger]

    assert (plan.tensor_parallel, plan.gpu_memory_utilization, plan.max_model_len) == (2, 0.9, 8192)
    assert plan.kv_cache_dtype == "fp8"
    assert ("LoRA adapters" in entries, "CUDA graphs" in entries) == (True, False)
    assert plan.request_bytes == 8192 // 16 * 16 * 2 * 4 * 128 * 32


def test_what_a_preset_gives_the_engine_is_planned_with():
    """GLM's cache is kept in fp8 because its preset says so."""
    assert planned("glm-5.2-fp8", "Standard_ND96isr_H200_v5").kv_cache_dtype == "fp8"


@pytest.mark.parametrize(
    ("preset", "sku", "flags", "reason", "said"),
    [
        ("phi-4", "Standard_ND96asr_A100_v4", {"tensor-parallel-size": 8}, Misfit.PARALLELISM, "10 KV heads"),
        ("phi-4", "Standard_NC24ads_A100_v4", {"tensor-parallel-size": 2}, Misfit.PARALLELISM, "gives a pod 1 GPU:"),
        ("phi-4", "Standard_NC48ads_A100_v4", {"data-parallel-size": 3}, Misfit.PARALLELISM, "has 2 GPUs for all"),
        ("phi-4", "Standard_NC4as_T4_v3", {"dtype": "bfloat16"}, Misfit.PRECISION, "begins at 8.0"),
        ("phi-4", "Standard_NC4as_T4_v3", {"kv-cache-dtype": "fp8"}, Misfit.PRECISION, "leave kv-cache-dtype out"),
        ("gpt-oss-20b", "Standard_NC4as_T4_v3", {}, Misfit.PRECISION, "packed with mxfp4"),
        ("phi-4", "Standard_NC24ads_A100_v4", {"quantization": "awq"}, Misfit.PRECISION, "must be fp8 or bitsandbytes"),
        ("deepseek-v4-pro", "Standard_ND96isr_H200_v5", {}, Misfit.NUMBERS, "architecture.compressed is not known"),
    ],
)
def test_what_cannot_be_is_refused_with_the_rule(
    preset: str, sku: str, flags: dict[str, object], reason: Misfit, said: str
):
    """Each refusal names what was asked, why the engine refuses it, and what would do."""
    misfit = refused(preset, sku, flags=read_flags(flags))

    assert misfit.reason == reason
    assert said in misfit.message


def test_a_slice_of_a_gpu_is_a_small_gpu_of_its_own():
    """A model on a MIG slice has its memory, one rank, and the slice's resource."""
    slices = sliced(CATALOG.sku("p4d.24xlarge"), "3g.20gb")
    plan = plan_inference(CATALOG.preset("phi-3-mini-4k-instruct"), slices, runtime=CUDA)

    assert isinstance(plan, InferencePlan)
    assert (plan.tensor_parallel, plan.resource) == (1, "nvidia.com/mig-3g.20gb")
    assert slices.gpu_count == 16
    assert plan.available_bytes < 19968 * MIB


@pytest.mark.parametrize("profile", ["5g.50gb", "1G.10GB", "big"])
def test_a_slice_that_there_is_not_is_refused(profile: str):
    """The error offers the slices that there are."""
    with pytest.raises(UnknownSlice, match=r"has no slice .*use one of"):
        sliced(CATALOG.sku("Standard_NC24ads_A100_v4"), profile)


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
    # A process sees 91.7 % of the nominal memory where nobody knows how much it is.
    assert (Misfit.GPU_MEMORY, int(4 * GIB * 0.917 * 0.84)) == (plan.reason, plan.available_bytes - 1)
    assert f"{plan.needed_bytes / GIB:.2f}Gi" in plan.message
    assert "3.08Gi are available (0.84 of 3.67Gi)" in plan.message


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
    assert refused("tiny-phi3", "Standard_NC24ads_A100_v4").reason == Misfit.WEIGHTS


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"runtime": ALONE, "node_count": 2}, "runtime alone serves a model on one node"),
        ({"node_count": 33}, "phi-2 has 32 layers, at least one a node: give at most 32"),
        ({"flags": EngineFlags(pipeline_parallel_size=40)}, "pipeline-parallel-size is 40, and phi-2 has 32 layers"),
        (
            {"node_count": 2, "flags": EngineFlags(pipeline_parallel_size=4)},
            "resource.count is 2 and pipeline-parallel-size 4, and each node is one stage: give the same number",
        ),
    ],
)
def test_a_count_that_cannot_be_is_refused(options: dict[str, object], part: str):
    """More nodes than a runtime spans, or than the model has layers."""
    misfit = refused("phi-2", "Standard_NC24ads_A100_v4", **options)

    assert misfit.reason == Misfit.NODE_COUNT
    assert part in misfit.message


def test_every_node_keeps_a_layer_that_attends():
    """Eleven stages of Nemotron's 108 layers would leave one without attention, whose cache has blocks of no bytes."""
    preset, sku = CATALOG.preset("nvidia-nemotron-3-ultra-550b-a55b-nvfp4"), CATALOG.sku("Standard_NC24ads_A100_v4")
    misfit = plan_inference(preset, sku, runtime=CUDA, node_count=11)

    assert isinstance(misfit, DoesNotFit)
    assert "some node would get no layer of" in misfit.message
    assert "give 10, or leave it out" in misfit.message


@settings(deadline=None)
@given(preset=presets, sku=skus)
def test_a_plan_never_exceeds_the_memory(preset: Preset, sku: SKU):
    """The ledger's sum is within what the engine may take, entry by entry above zero, and names what it is from."""
    plan = plan_inference(preset, sku, runtime=CUDA)

    assume(isinstance(plan, InferencePlan))
    assert total(plan.ledger) <= plan.available_bytes < sku.gpu_memory_bytes
    assert all(entry.bytes > 0 and entry.formula and entry.source for entry in plan.ledger)


@settings(deadline=None)
@given(preset=presets, sku=skus)
def test_the_ledger_sums_to_what_the_engine_takes(preset: Preset, sku: SKU):
    """Nothing is lost: what is left beside the entries is less than one block of the cache."""
    plan = plan_inference(preset, sku, runtime=CUDA)

    assume(isinstance(plan, InferencePlan) and plan.node_count == 1)
    cache = next(entry.bytes for entry in plan.ledger if entry.entry == "KV cache")
    assert plan.available_bytes - total(plan.ledger) < cache // plan.kv_blocks


@settings(deadline=None)
@given(preset=presets, sku=skus)
def test_tensor_parallelism_divides_the_heads(preset: Preset, sku: SKU):
    """The engine can always cut the model as planned, and never over more GPUs than a node has."""
    plan = plan_inference(preset, sku, runtime=CUDA)

    assume(isinstance(plan, InferencePlan))
    ranks, packing = plan.tensor_parallel, preset.quantisation
    found = obstacles(preset.architecture, ranks, packing=packing, expert_parallel=plan.expert_parallel)
    assert ranks == 1 or not any(found)
    assert plan.tensor_parallel * plan.data_parallel <= sku.gpu_count
    assert 1 <= plan.pipeline_parallel == plan.node_count <= preset.architecture.layers


@settings(deadline=None)
@given(preset=presets, gpus=st.integers(1, 16), gib=st.integers(4, 141), more=st.integers(1, 64))
def test_more_memory_never_fits_less(preset: Preset, gpus: int, gib: int, more: int):
    """With larger GPUs a model needs as many nodes or fewer, and on as many nodes holds as long a context or longer."""
    small = plan_inference(preset, imaginary(gpus, gib), runtime=CUDA, flags=BATCHES)
    large = plan_inference(preset, imaginary(gpus, gib + more), runtime=CUDA, flags=BATCHES)

    if isinstance(small, InferencePlan):
        assert isinstance(large, InferencePlan)
        assert large.node_count <= small.node_count
        if large.node_count == small.node_count:
            assert large.max_model_len >= small.max_model_len


@settings(deadline=None)
@given(preset=presets, gpus=st.integers(1, 8), gib=st.integers(8, 141))
def test_twice_the_gpus_never_need_more_nodes(preset: Preset, gpus: int, gib: int):
    """A node with twice the GPUs holds at least as much."""
    fewer = plan_inference(preset, imaginary(gpus, gib), runtime=CUDA, flags=BATCHES)
    more = plan_inference(preset, imaginary(2 * gpus, gib), runtime=CUDA, flags=BATCHES)

    if isinstance(fewer, InferencePlan) and fewer.tensor_parallel > 1:
        assert isinstance(more, InferencePlan)
        assert more.node_count <= fewer.node_count


@settings(deadline=None)
@given(preset=presets, sku=skus, shares=st.tuples(st.integers(1, 100), st.integers(1, 100)))
def test_a_longer_context_never_needs_fewer_nodes(preset: Preset, sku: SKU, shares: tuple[int, int]):
    """The number of nodes grows with the context that is asked for."""
    short, long = (preset.token_limit * share // 100 or 1 for share in sorted(shares))
    plans = [plan_inference(preset, sku, max_model_len=length, runtime=CUDA) for length in (short, long)]

    counts = [plan.node_count if isinstance(plan, InferencePlan) else 10**6 for plan in plans]
    assert counts == sorted(counts)


@settings(deadline=None)
@given(preset=presets, sku=skus, requests=st.tuples(st.integers(1, 64), st.integers(1, 64)))
def test_more_requests_never_need_fewer_nodes(preset: Preset, sku: SKU, requests: tuple[int, int]):
    """The number of nodes grows with the requests that are held at a time."""
    plans = [
        plan_inference(preset, sku, max_model_len=preset.token_limit // 4, concurrency=count, runtime=CUDA)
        for count in sorted(requests)
    ]

    counts = [plan.node_count if isinstance(plan, InferencePlan) else 10**6 for plan in plans]
    assert counts == sorted(counts)
