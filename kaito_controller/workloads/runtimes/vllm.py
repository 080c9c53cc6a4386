"""The command line and environment of vLLM in our inference server. Words only: nothing passes through a shell."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, Final

from inference_server import contract
from kaito_controller.api import labels as keys
from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.model import EngineDevice, Preset, Runtime
from kaito_controller.catalog.placeholders import fill
from kaito_controller.sizing.inference import InferencePlan
from kaito_controller.sizing.memory import GIB
from kaito_controller.workloads.children import pod_host, rank_variable
from kaito_controller.workloads.weights import weights_of

# The other values of the annotation mean the engine's default.
PERFORMANCE_MODES: Final = frozenset({"interactivity", "throughput"})


def arguments(
    workspace: Workspace, preset: Preset, plan: InferencePlan, runtime: Runtime, parameters: Mapping[str, str]
) -> list[str]:
    """The server's arguments, sorted by name so that the same plan always gives the same pod."""
    alone = runtime.single_node_arguments if plan.node_count == 1 else {}
    options = {**runtime.engine_arguments, **alone, **preset.engine_arguments}
    flags: dict[str, list[str]] = {f"--{name}": [] if value == "true" else [value] for name, value in options.items()}
    weights = weights_of(workspace, preset, runtime, parameters)
    flags |= {
        contract.ARG_MODEL: [weights.location],
        contract.ARG_SERVED_MODEL_NAME: served_names(workspace, preset),
        contract.ARG_PORT: [str(contract.PORT)],
        contract.ARG_DTYPE: [plan.dtype],
        contract.ARG_MAX_MODEL_LEN: [
            str(plan.max_model_len) if runtime.planned_context else contract.MAX_MODEL_LEN_AUTO
        ],
    }
    flags |= {name: list(values) for name, values in weights.arguments.items()}
    if weights.fetch is not None:
        flags[contract.ARG_ARCHITECTURE] = [preset.architecture.name]
    if runtime.accelerator.device is EngineDevice.CUDA:
        flags |= {
            contract.ARG_GPU_MEMORY_UTILIZATION: [f"{plan.gpu_memory_utilization:g}"],
            contract.ARG_TENSOR_PARALLEL_SIZE: [str(plan.tensor_parallel)],
        }
        if plan.data_parallel > 1:
            flags[contract.ARG_DATA_PARALLEL_SIZE] = [str(plan.data_parallel)]
    if plan.node_count > 1:
        flags |= _node_flags(workspace, plan)
    if workspace.inference is not None and workspace.inference.config:
        flags[contract.ARG_CONFIG_FILE] = [contract.CONFIG_FILE]
    mode = workspace.metadata.annotations.get(keys.PERFORMANCE_MODE, "")
    if mode in PERFORMANCE_MODES:
        flags[contract.ARG_PERFORMANCE_MODE] = [mode]
    return [word for name, values in sorted(flags.items()) for word in (name, *values)]


def _node_flags(workspace: Workspace, plan: InferencePlan) -> dict[str, list[str]]:
    return {
        contract.ARG_PIPELINE_PARALLEL_SIZE: [str(plan.pipeline_parallel)],
        contract.ARG_DISTRIBUTED_EXECUTOR_BACKEND: ["mp"],
        contract.ARG_NODE_COUNT: [str(plan.node_count)],
        # The kubelet replaces it: the one pod template serves every rank.
        contract.ARG_NODE_RANK: [f"$({contract.ENV_POD_INDEX})"],
        contract.ARG_MASTER_ADDR: [pod_host(workspace, 0)],
        contract.ARG_MASTER_PORT: [str(contract.MASTER_PORT)],
    }


def served_names(workspace: Workspace, preset: Preset) -> list[str]:
    """The names a request may give as `model`, the first of which answers carry.

    An InferenceSet's name comes first on its replicas; then the last part of the model id, as upstream serves it; then
    the preset's name and the model id itself.
    """
    short = preset.model_id.rpartition("/")[2].lower()
    names = (workspace.metadata.labels.get(keys.CREATED_BY_INFERENCESET, ""), short, preset.name, preset.model_id)
    return list(dict.fromkeys(name for name in names if name))


def environment(
    workspace: Workspace, preset: Preset, plan: InferencePlan, runtime: Runtime, parameters: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The container's environment, sorted by name but for POD_INDEX, which must precede what refers to it."""
    values: dict[str, str] = fill(runtime.environment, parameters)
    if runtime.accelerator.device is EngineDevice.CPU:
        # GiB of host memory for the KV cache; vLLM takes it whole at start-up.
        values["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, ceil(plan.request_bytes / GIB)))
    weights = weights_of(workspace, preset, runtime, parameters)
    if not weights.by_engine:
        # Every file of the model is there before the engine looks: a hub could only keep it waiting.
        values[contract.ENV_HUB_OFFLINE] = "1"
    if weights.fetch is not None:
        # It lies where the engine may not write; without it the cache's own folder counts.
        values.pop(contract.ENV_HUB_HOME, None)
    env: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in values.items()]
    env += [dict(variable) for variable in weights.environment]
    if weights.by_engine:
        env += hub_token(workspace.access_secret)
    if plan.node_count > 1:
        env.append({"name": "VLLM_HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
    env.sort(key=lambda variable: str(variable["name"]))
    return [*rank_variable(plan.node_count), *env]


def hub_token(secret: str) -> list[dict[str, Any]]:
    """The variable with the hub's token, which need not be there; none without a Secret's name."""
    if not secret:
        return []
    reference = {"name": secret, "key": contract.ENV_HUB_TOKEN, "optional": True}
    return [{"name": contract.ENV_HUB_TOKEN, "valueFrom": {"secretKeyRef": reference}}]
