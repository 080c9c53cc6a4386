"""The plan of one inference workload: nodes, GPUs, split, precision, context, and the ledger that justifies them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from fractions import Fraction
from typing import Final

from attrs import frozen

from kaito_controller.catalog.hardware import SKU, ComputeCapability
from kaito_controller.catalog.model import EngineDevice, Preset, Runtime
from kaito_controller.sizing.memory import (
    GIB,
    LedgerEntry,
    Split,
    fixed_entries,
    kv_bytes_per_token,
    kv_entry,
    total,
)
from kaito_controller.sizing.parallelism import tensor_parallel
from kaito_controller.sizing.precision import serving_dtype

# Upstream's share of a GPU for the engine, and the context it sizes for when nobody asks for one (nodesestimator).
DEFAULT_UTILIZATION: Final = 0.84
DEFAULT_CONTEXT: Final = 2048
# A computed context is a multiple of this (upstream's rule up to v0.10, a multiple of every KV block size of vLLM).
CONTEXT_STEP: Final = 256


# vLLM's V1 engine serves compute capability 7.0 in float16 (vllm-project/vllm#23614, #24022, v0.10.2 and later).
OLDEST_CAPABILITY: Final = ComputeCapability(major=7, minor=0)


class Misfit(StrEnum):
    """Why a preset cannot be served as asked."""

    GPU_MEMORY = "InsufficientGPUMemory"
    CONTEXT = "ContextTooLong"
    ACCELERATOR = "UnsupportedAccelerator"
    NODE_COUNT = "UnsupportedNodeCount"
    WEIGHTS = "WeightsUnavailable"


@frozen(kw_only=True)
class InferencePlan:
    """How a preset is served: every figure per node or per GPU, sizes in bytes.

    `gpus_per_node` is what each pod requests of `resource`. `ledger` is one GPU's memory; its sum is at most
    `available_bytes`. `notes` are remarks worth a user's attention.
    """

    node_count: int
    gpus_per_node: int
    tensor_parallel: int
    pipeline_parallel: int
    data_parallel: int
    dtype: str
    max_model_len: int
    gpu_memory_utilization: float
    resource: str
    available_bytes: int
    ledger: tuple[LedgerEntry, ...]
    notes: tuple[str, ...] = ()


@frozen(kw_only=True)
class DoesNotFit:
    """Why there is no plan. The two sizes are bytes of one GPU; both 0 where memory is not the reason.

    `enough_nodes` is the least number of nodes on which the preset would fit; None where no number is enough.
    """

    reason: Misfit
    message: str
    needed_bytes: int = 0
    available_bytes: int = 0
    enough_nodes: int | None = None


def plan_inference(
    preset: Preset,
    sku: SKU,
    *,
    node_count: int | None = None,
    max_model_len: int | None = None,
    gpu_memory_utilization: float | None = None,
    runtime: Runtime,
) -> InferencePlan | DoesNotFit:
    """The smallest number of nodes that serves the preset, or exactly `node_count` nodes when that is above 1.

    `max_model_len` (tokens) must be served in full; without it the plan holds at least 2048 tokens, or the model's own
    limit where that is lower, and takes the longest context that fits. Layers are cut over a node's GPUs (tensor
    parallel), stages over nodes (pipeline parallel). A CPU runtime is planned as the GPUs that it stands for.
    """
    misfit = _unsuitable(preset, sku, runtime, node_count) or _too_long(preset, max_model_len)
    if misfit is not None:
        return misfit
    utilization = gpu_memory_utilization or sku.gpu_memory_utilization or DEFAULT_UTILIZATION
    asked = node_count if node_count is not None and node_count > 1 else None
    most = preset.architecture.layers if runtime.multi_node else 1
    counts = (asked,) if asked else range(1, most + 1)

    def fit_on(nodes: int) -> _Fit:
        return _fit(preset, sku, runtime, nodes=nodes, max_model_len=max_model_len, utilization=utilization)

    fit = fit_on(asked or 1)
    for count in counts:
        fit = fit_on(count)
        if fit.room >= 0:
            return _plan(preset, sku, runtime, fit, utilization)
    enough = next((count for count in range(fit.split.pipeline + 1, most + 1) if fit_on(count).room >= 0), None)
    return _misfit(preset, sku, fit, utilization, enough)


@frozen(kw_only=True)
class _Fit:
    """One way of placing the model: `tokens` is the context it must hold at least, `room` bytes left beside that."""

    split: Split
    dtype: str
    fixed: tuple[LedgerEntry, ...]
    tokens: int
    asked: bool
    per_token: int
    available: int

    @property
    def needed(self) -> int:
        return total(self.fixed) + self.per_token * self.tokens

    @property
    def room(self) -> int:
        return self.available - self.needed


def _fit(
    preset: Preset, sku: SKU, runtime: Runtime, *, nodes: int, max_model_len: int | None, utilization: float
) -> _Fit:
    dtype = serving_dtype(preset, sku, runtime)
    split = Split(tensor=tensor_parallel(preset.architecture, sku.gpu_count), pipeline=nodes)
    return _Fit(
        split=split,
        dtype=dtype,
        fixed=fixed_entries(preset, dtype, split),
        tokens=max_model_len or min(DEFAULT_CONTEXT, preset.token_limit),
        asked=max_model_len is not None,
        per_token=kv_bytes_per_token(preset.architecture, dtype, split),
        available=int(sku.gpu_memory_bytes * Fraction(str(utilization))),
    )


def _plan(preset: Preset, sku: SKU, runtime: Runtime, fit: _Fit, utilization: float) -> InferencePlan:
    tokens = fit.tokens if fit.asked else _longest(preset, fit)
    return InferencePlan(
        node_count=fit.split.pipeline,
        gpus_per_node=fit.split.tensor,
        tensor_parallel=fit.split.tensor,
        pipeline_parallel=fit.split.pipeline,
        data_parallel=1,
        dtype=fit.dtype,
        max_model_len=tokens,
        gpu_memory_utilization=utilization,
        resource=runtime.accelerator.resource,
        available_bytes=fit.available,
        ledger=(*fit.fixed, kv_entry(preset.architecture, fit.dtype, fit.split, tokens)),
        notes=tuple(_notes(preset, sku, runtime, fit)),
    )


def _longest(preset: Preset, fit: _Fit) -> int:
    tokens = (fit.available - total(fit.fixed)) // fit.per_token
    if tokens >= preset.token_limit:
        return preset.token_limit
    return max(fit.tokens, tokens // CONTEXT_STEP * CONTEXT_STEP)


def _notes(preset: Preset, sku: SKU, runtime: Runtime, fit: _Fit) -> Sequence[str]:
    notes = []
    capability = sku.compute_capability
    if capability is not None and not _contains(runtime, capability):
        built_for = ", ".join(str(one) for one in runtime.accelerator.compute_capabilities)
        notes.append(
            f"{sku.gpu_model} has compute capability {capability}, and runtime {runtime.name} is built for {built_for}:"
            f" give the operator an image built for {capability}"
        )
    if fit.dtype != preset.dtype:
        notes.append(f"served in {fit.dtype}: {sku.gpu_model} does not compute in {preset.dtype}")
    if fit.split.tensor < sku.gpu_count:
        heads = f"{preset.architecture.attention_heads} heads and {preset.architecture.kv_heads} KV heads"
        notes.append(
            f"uses {fit.split.tensor} of the {sku.gpu_count} GPUs of {sku.name}: a model of {heads} is not cut further"
        )
    return notes


def _contains(runtime: Runtime, capability: ComputeCapability) -> bool:
    accelerator = runtime.accelerator
    return accelerator.device is EngineDevice.CPU or accelerator.contains(capability)


def _unsuitable(preset: Preset, sku: SKU, runtime: Runtime, node_count: int | None) -> DoesNotFit | None:
    accelerator = runtime.accelerator
    reason, message = Misfit.ACCELERATOR, ""
    if sku.resource != accelerator.resource:
        message = (
            f"{sku.name} has {sku.gpu_model} ({sku.resource}), and runtime {runtime.name} runs on "
            f"{accelerator.resource}: choose an instance type with such GPUs"
        )
    elif accelerator.device is EngineDevice.CUDA and (
        sku.compute_capability is None or sku.compute_capability < OLDEST_CAPABILITY
    ):
        message = (
            f"{sku.gpu_model} of {sku.name} has compute capability {sku.compute_capability or 'unknown'}, and runtime "
            f"{runtime.name} needs {OLDEST_CAPABILITY} or above: choose an instance type with a newer GPU"
        )
    elif preset.weights_folder and runtime.models_parameter is None:
        reason = Misfit.WEIGHTS
        message = (
            f"preset {preset.name} is in no hub, and runtime {runtime.name} reads no folder of models: "
            "choose another preset, or run the operator with a runtime that does"
        )
    elif node_count is not None and node_count > 1:
        reason = Misfit.NODE_COUNT
        message = _bad_node_count(preset, runtime, node_count)
    return DoesNotFit(reason=reason, message=message) if message else None


def _bad_node_count(preset: Preset, runtime: Runtime, node_count: int) -> str:
    if not runtime.multi_node:
        return f"resource.count is {node_count}, and runtime {runtime.name} serves a model on one node: leave it out"
    layers = preset.architecture.layers
    if node_count > layers:
        return (
            f"resource.count is {node_count}, and {preset.name} has {layers} layers, at least one a node: "
            f"give at most {layers}, or leave it out"
        )
    return ""


def _too_long(preset: Preset, max_model_len: int | None) -> DoesNotFit | None:
    if max_model_len is None or 0 < max_model_len <= preset.token_limit:
        return None
    return DoesNotFit(
        reason=Misfit.CONTEXT,
        message=f"max-model-len must be 1 to {preset.token_limit}, the longest context of {preset.name}; "
        f"found {max_model_len}",
    )


def _misfit(preset: Preset, sku: SKU, fit: _Fit, utilization: float, enough: int | None) -> DoesNotFit:
    nodes = f"{fit.split.pipeline} node{'s' if fit.split.pipeline > 1 else ''}"
    weights = fit.fixed[0].bytes
    cure = f"give {enough} nodes, or choose" if enough else "choose"
    shorter = ", or a shorter max-model-len" if fit.asked and fit.tokens > 1 else ""
    return DoesNotFit(
        reason=Misfit.GPU_MEMORY,
        message=(
            f"{preset.name} on {nodes} of {sku.name} needs {_gib(fit.needed)} on each of {fit.split.tensor} GPU(s) a "
            f"node (weights {_gib(weights)}, KV cache of {fit.tokens} tokens {_gib(fit.per_token * fit.tokens)}, the "
            f"rest overhead), and {_gib(fit.available)} are available ({utilization:g} of "
            f"{_gib(sku.gpu_memory_bytes)}): {cure} an instance type with more or larger GPUs{shorter}"
        ),
        needed_bytes=fit.needed,
        available_bytes=fit.available,
        enough_nodes=enough,
    )


def _gib(count: int) -> str:
    return f"{count / GIB:.2f}Gi"
