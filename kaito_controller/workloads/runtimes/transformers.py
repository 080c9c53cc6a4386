"""The command line and environment of transformers in our inference server. Words only, and no shell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inference_server import contract
from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.model import Preset, Runtime
from kaito_controller.catalog.placeholders import fill
from kaito_controller.sizing.inference import InferencePlan
from kaito_controller.workloads.runtimes.vllm import hub_token, served_names
from kaito_controller.workloads.weights import weights_of

# Of what the catalogue gives a preset for vLLM, the options that mean the same here.
_SHARED = (contract.ARG_CHAT_TEMPLATE, contract.ARG_TRUST_REMOTE_CODE)


def arguments(
    workspace: Workspace, preset: Preset, plan: InferencePlan, runtime: Runtime, parameters: Mapping[str, str]
) -> list[str]:
    """The server's arguments, sorted by name so that the same plan always gives the same pod."""
    weights = weights_of(workspace, preset, runtime, parameters)
    options = {f"--{name}": value for name, value in {**runtime.engine_arguments, **preset.engine_arguments}.items()}
    flags = {name: [] if value == "true" else [value] for name, value in options.items() if name in _SHARED}
    flags |= {
        contract.ARG_MODEL: [weights.location],
        contract.ARG_SERVED_MODEL_NAME: served_names(workspace, preset),
        contract.ARG_PORT: [str(contract.PORT)],
        contract.ARG_DTYPE: [plan.dtype],
        contract.ARG_MAX_MODEL_LEN: [str(plan.max_model_len)],
    }
    flags |= {name: list(values) for name, values in weights.arguments.items()}
    if workspace.inference is not None and workspace.inference.config:
        flags[contract.ARG_CONFIG_FILE] = [contract.CONFIG_FILE]
    return [word for name, values in sorted(flags.items()) for word in (name, *values)]


def environment(
    workspace: Workspace,
    preset: Preset,
    plan: InferencePlan,  # noqa: ARG001 (every engine is asked alike)
    runtime: Runtime,
    parameters: Mapping[str, str],
) -> list[dict[str, Any]]:
    """The container's environment, sorted by name."""
    values = dict(fill(runtime.environment, parameters))
    weights = weights_of(workspace, preset, runtime, parameters)
    if not weights.by_engine:
        values[contract.ENV_HUB_OFFLINE] = "1"
    if weights.fetch is not None:
        # It lies where the server may not write; without it the cache's own folder counts.
        values.pop(contract.ENV_HUB_HOME, None)
    env: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in values.items()]
    token = hub_token(workspace.access_secret) if weights.by_engine else []
    return sorted([*env, *token], key=lambda variable: str(variable["name"]))
