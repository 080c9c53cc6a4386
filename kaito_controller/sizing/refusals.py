"""The sentences that say why a model cannot be served as asked, and what to do."""

from __future__ import annotations

from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.model import EngineDevice, Preset, Runtime
from kaito_controller.sizing.fit import Fit, gib
from kaito_controller.sizing.flags import EngineFlags
from kaito_controller.sizing.misfit import DoesNotFit, Misfit
from kaito_controller.sizing.model_sizes import ModelSizes
from kaito_controller.sizing.usable_memory import seen_memory


def unsuitable(
    sizes: ModelSizes, sku: SKU, runtime: Runtime, node_count: int | None, flags: EngineFlags
) -> DoesNotFit | None:
    """Why a runtime cannot serve a model on an instance type whatever its memory; None where it can."""
    accelerator = runtime.accelerator
    if sku.resource != accelerator.resource:
        message = (
            f"{sku.name} has {sku.gpu_model} ({sku.resource}), and runtime {runtime.name} runs on "
            f"{accelerator.resource}: choose an instance type with such GPUs"
        )
        return DoesNotFit(reason=Misfit.ACCELERATOR, message=message)
    if accelerator.device is EngineDevice.CUDA:
        message = _not_contained(sku, runtime)
        if message:
            return DoesNotFit(reason=Misfit.ACCELERATOR, message=message)
    if sizes.preset.weights_folder and runtime.models_parameter is None:
        message = (
            f"preset {sizes.preset.name} is in no hub, and runtime {runtime.name} reads no folder of models: "
            "choose another preset, or run the operator with a runtime that does"
        )
        return DoesNotFit(reason=Misfit.WEIGHTS, message=message)
    message = _bad_nodes(sizes, sku, runtime, node_count, flags.pipeline_parallel_size)
    return DoesNotFit(reason=Misfit.NODE_COUNT, message=message) if message else None


def _not_contained(sku: SKU, runtime: Runtime) -> str:
    capability = sku.compute_capability
    if capability is not None and runtime.accelerator.contains(capability):
        return ""
    built_for = ", ".join(str(one) for one in runtime.accelerator.compute_capabilities)
    return (
        f"{sku.gpu_model} of {sku.name} has compute capability {capability or 'unknown'}, and runtime {runtime.name} "
        f"holds programs for {built_for}: choose an instance type with such a GPU, or run the operator with a runtime "
        "that holds programs for it"
    )


def _bad_nodes(sizes: ModelSizes, sku: SKU, runtime: Runtime, count: int | None, stages: int | None) -> str:
    """Why a model cannot have so many nodes, each of which is one stage of a pipeline."""
    counted = count is not None and count > 1
    if counted and stages is not None and stages != count:
        return (
            f"resource.count is {count} and pipeline-parallel-size {stages}, and each node is one stage: give the same "
            "number, or leave pipeline-parallel-size out"
        )
    if counted:
        return _bad_stages(sizes, sku, runtime, count or 1, "resource.count")
    return _bad_stages(sizes, sku, runtime, stages, "pipeline-parallel-size") if stages is not None else ""


def _bad_stages(sizes: ModelSizes, sku: SKU, runtime: Runtime, count: int, name: str) -> str:
    if count == 1:
        return ""
    if not runtime.multi_node:
        return f"{name} is {count}, and runtime {runtime.name} serves a model on one node: leave it out"
    if sku.partition is not None:
        return f"{name} is {count}, and a model on a slice of a GPU does not span nodes: leave it out"
    return _uncut(sizes, count, name)


def _uncut(sizes: ModelSizes, count: int, name: str) -> str:
    preset, counts = sizes.preset, sizes.stage_counts
    layers = preset.architecture.layers
    if count in counts:
        return ""
    if counts == (1,):
        return (
            f"{name} is {count}, and the layers of {preset.name} cannot be told apart into stages, since they share "
            "caches or an encoder, or few of them attend: leave it out"
        )
    if count > layers:
        rule = f"{preset.name} has {layers} layers, at least one a node: give at most {counts[-1]}"
        return f"{name} is {count}, and {rule}, or leave it out"
    nearest = max(one for one in counts if one < count)
    rule = f"with so many some node would get no layer of {preset.name} that attends: give {nearest}"
    return f"{name} is {count}, and {rule}, or leave it out"


def too_long(preset: Preset, flags: EngineFlags) -> DoesNotFit | None:
    """Why a context cannot be had from a model; None where it can."""
    length = flags.length
    if length is None or length <= preset.token_limit:
        return None
    return DoesNotFit(
        reason=Misfit.CONTEXT,
        message=f"max-model-len must be 1 to {preset.token_limit}, the longest context of {preset.name}; "
        f"found {length}",
    )


def too_large(preset: Preset, sku: SKU, fit: Fit, enough: int | None) -> DoesNotFit:
    """What is lacking where a model was tried; `enough` nodes would do, if any number would."""
    nodes = f"{fit.split.pipeline} node{'s' if fit.split.pipeline > 1 else ''}"
    stage = fit.tightest
    has, wanted = max(0, fit.left[stage]), fit.wanted[stage]
    cure = f"give {enough} nodes, or choose" if enough else "choose"
    shorter = ", or a shorter max-model-len" if fit.asked and fit.tokens > 1 else ""
    many = f"{fit.concurrency} x " if fit.concurrency > 1 else ""
    return DoesNotFit(
        reason=Misfit.GPU_MEMORY,
        message=(
            f"{preset.name} on {nodes} of {sku.name} needs {gib(fit.needed)} on each of {fit.split.tensor} GPU(s) a "
            f"node (weights {gib(fit.weights)}, KV cache of {many}{fit.tokens} tokens {gib(wanted)} where"
            f" {gib(has)} are left, the rest overhead), and {gib(fit.available)} are available ({fit.share:g} of "
            f"{gib(seen_memory(sku))}): {cure} an instance type with more or larger GPUs{shorter}"
        ),
        needed_bytes=fit.needed,
        available_bytes=fit.available,
        enough_nodes=enough,
    )
