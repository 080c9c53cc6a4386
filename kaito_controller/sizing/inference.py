"""The plan of one inference workload: nodes, GPUs, split, precision, context, and the ledger that justifies them."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve, frozen

from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.model import EngineName, Preset, Runtime
from kaito_controller.sizing import contiguous
from kaito_controller.sizing.cache_groups import UnsupportedCache
from kaito_controller.sizing.fit import Demand, Fit
from kaito_controller.sizing.flags import EngineFlags, read_flags
from kaito_controller.sizing.memory import LedgerEntry
from kaito_controller.sizing.misfit import DoesNotFit, Misfit
from kaito_controller.sizing.missing import MissingNumber
from kaito_controller.sizing.model_sizes import ModelSizes
from kaito_controller.sizing.precision import Precision, UnsupportedPrecision, served_precision
from kaito_controller.sizing.refusals import too_long, unsuitable
from kaito_controller.sizing.search import Search

__all__ = ["DoesNotFit", "InferencePlan", "Misfit", "plan_inference", "plan_on"]


@frozen(kw_only=True)
class InferencePlan:
    """How a preset is served: every figure per node or per GPU, sizes in bytes.

    `gpus_per_node` is what each pod requests of `resource`. `ledger` is what the fullest GPU holds, its whole KV cache
    among it; its sum is at most `available_bytes`. `max_model_len` is the longest context of a request; `kv_tokens` is
    the size of one engine's KV cache as it logs it, `requests` how many of full length it holds at a time, and
    `request_bytes` the KV cache of one of them on one GPU. `notes` are remarks worth a user's attention.
    """

    node_count: int
    gpus_per_node: int
    tensor_parallel: int
    pipeline_parallel: int
    data_parallel: int
    expert_parallel: bool
    dtype: str
    kv_cache_dtype: str
    max_model_len: int
    kv_tokens: int
    kv_blocks: int
    requests: float
    request_bytes: int
    gpu_memory_utilization: float
    resource: str
    available_bytes: int
    ledger: tuple[LedgerEntry, ...]
    notes: tuple[str, ...] = ()


def plan_inference(
    preset: Preset,
    sku: SKU,
    *,
    runtime: Runtime,
    node_count: int | None = None,
    max_model_len: int | None = None,
    gpu_memory_utilization: float | None = None,
    flags: EngineFlags | None = None,
    concurrency: int = 1,
) -> InferencePlan | DoesNotFit:
    """The smallest number of nodes that serves the preset, or exactly `node_count` nodes when that is above 1.

    `max_model_len` (tokens) must be served in full; without it the plan holds at least 2048 tokens, or the model's own
    limit where that is lower, and takes the longest context that fits, as the engine would. `flags` are further options
    of the engine, of which the two other arguments win; `concurrency` is how many requests of that length must be held
    at a time. A CPU runtime is planned as the GPUs that it stands for.
    """
    flags = flags or EngineFlags()
    if max_model_len is not None:
        flags = evolve(flags, max_model_len=max_model_len)
    if gpu_memory_utilization is not None:
        flags = evolve(flags, gpu_memory_utilization=gpu_memory_utilization)
    return plan_on(
        ModelSizes(preset=preset),
        sku,
        runtime,
        node_count=node_count,
        demand=Demand(flags=flags, concurrency=concurrency),
    )


def _own_flags(preset: Preset, runtime: Runtime) -> EngineFlags:
    """What the catalogue gives the engine for every user of a preset and of a runtime."""
    return read_flags({**runtime.engine_arguments, **preset.engine_arguments})


def plan_on(
    sizes: ModelSizes,
    sku: SKU,
    runtime: Runtime,
    *,
    node_count: int | None,
    demand: Demand,
    most_nodes: int | None = None,
) -> InferencePlan | DoesNotFit:
    """The same for a model whose sizes may be known from other kinds of hardware, on at most `most_nodes` nodes."""
    flags = demand.flags
    misfit = unsuitable(sizes, sku, runtime, node_count, flags) or too_long(sizes.preset, flags)
    if misfit is not None:
        return misfit
    if runtime.engine is EngineName.TRANSFORMERS:
        return _plan_contiguous(sizes, sku, runtime, demand)
    demand = evolve(demand, flags=flags.over(_own_flags(sizes.preset, runtime)))
    try:
        precision = served_precision(sizes.preset, sku, runtime, demand.flags)
        search = Search(sizes=sizes, sku=sku, runtime=runtime, precision=precision, demand=demand)
        found = search.best(node_count, most_nodes)
    except UnsupportedPrecision as error:
        return DoesNotFit(reason=Misfit.PRECISION, message=f"{sizes.preset.name}: {error}")
    except (MissingNumber, UnsupportedCache) as error:
        return DoesNotFit(reason=Misfit.NUMBERS, message=f"{sizes.preset.name}: {error}")
    if isinstance(found, DoesNotFit):
        return found
    return _plan(sizes.preset, sku, runtime, found)


def _plan_contiguous(sizes: ModelSizes, sku: SKU, runtime: Runtime, demand: Demand) -> InferencePlan | DoesNotFit:
    preset = sizes.preset
    misfit = contiguous.refused(sizes, runtime, demand)
    if misfit is not None:
        return misfit
    try:
        precision = served_precision(preset, sku, runtime, demand.flags)
        fit = contiguous.contiguous_fit(sizes, sku, precision, demand)
    except UnsupportedPrecision as error:
        return DoesNotFit(reason=Misfit.PRECISION, message=f"{preset.name}: {error}")
    except MissingNumber as error:
        return DoesNotFit(reason=Misfit.NUMBERS, message=f"{preset.name}: {error}")
    least = contiguous.wanted_tokens(sizes, demand)
    longest = fit.longest(demand.flags.length or preset.token_limit)
    if longest < least:
        return contiguous.too_large(sizes, sku, runtime, fit, least)
    return _contiguous_plan(sku, runtime, precision, fit, longest)


def _contiguous_plan(
    sku: SKU, runtime: Runtime, precision: Precision, fit: contiguous.ContiguousFit, length: int
) -> InferencePlan:
    alone = f"; uses one of the {sku.gpu_count} GPUs of {sku.name}" if sku.gpu_count > 1 else ""
    return InferencePlan(
        node_count=1,
        gpus_per_node=1,
        tensor_parallel=1,
        pipeline_parallel=1,
        data_parallel=1,
        expert_parallel=False,
        dtype=precision.dtype,
        kv_cache_dtype="",
        max_model_len=length,
        kv_tokens=length,
        kv_blocks=1,
        requests=1.0,
        request_bytes=length * fit.token_bytes,
        gpu_memory_utilization=fit.share,
        resource=sku.partition.resource if sku.partition is not None else runtime.accelerator.resource,
        available_bytes=fit.available,
        ledger=(*fit.fixed, *fit.entries(length)),
        notes=(f"transformers answers one request at a time, the others wait{alone}",),
    )


def _plan(preset: Preset, sku: SKU, runtime: Runtime, fit: Fit) -> InferencePlan:
    length = fit.length
    per_request = 0 if fit.cache.empty else fit.cache.request_blocks(length) * max(fit.cache.block_bytes)
    return InferencePlan(
        node_count=fit.split.pipeline,
        gpus_per_node=fit.split.gpus_per_node,
        tensor_parallel=fit.split.tensor,
        pipeline_parallel=fit.split.pipeline,
        data_parallel=fit.split.data,
        expert_parallel=fit.split.experts,
        dtype=fit.precision.dtype,
        kv_cache_dtype=fit.precision.cache_dtype,
        max_model_len=length,
        kv_tokens=fit.cache.tokens(fit.left, length),
        kv_blocks=fit.cache.blocks(fit.left),
        requests=fit.cache.requests(fit.left, length),
        request_bytes=per_request,
        gpu_memory_utilization=fit.share,
        resource=sku.partition.resource if sku.partition is not None else runtime.accelerator.resource,
        available_bytes=fit.available,
        ledger=fit.ledger,
        notes=tuple(_notes(preset, sku, fit)),
    )


def _notes(preset: Preset, sku: SKU, fit: Fit) -> Iterator[str]:
    if fit.precision.note:
        yield fit.precision.note
    used = fit.split.gpus_per_node
    if used < sku.gpu_count and sku.partition is None:
        heads = f"{preset.architecture.attention_heads} heads and {preset.architecture.kv_heads} KV heads"
        yield f"uses {used} of the {sku.gpu_count} GPUs of {sku.name}: a model of {heads} is not cut further"
    if not fit.asked and preset.unasked_token_limit:
        yield (
            f"the engine keeps to {preset.unasked_token_limit} tokens unless max-model-len asks for more, up to "
            f"{preset.token_limit}"
        )
