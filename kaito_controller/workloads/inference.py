"""The StatefulSet that serves a preset: one pod a node, each holding its part of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from inference_server import contract
from kaito_controller.api import labels as keys
from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.model import EngineName, Preset, Runtime
from kaito_controller.catalog.placeholders import fill
from kaito_controller.kube.core import STATEFUL_SETS
from kaito_controller.kube.metadata import Object
from kaito_controller.sizing.inference import InferencePlan
from kaito_controller.workloads import adapters
from kaito_controller.workloads.adapters import AdapterRoom
from kaito_controller.workloads.children import child_metadata, headless_name, pod_labels
from kaito_controller.workloads.probes import probes
from kaito_controller.workloads.runtimes import transformers, vllm
from kaito_controller.workloads.scheduling import affinity, tolerations
from kaito_controller.workloads.volumes import pod_volumes

_ENGINES: Final = {EngineName.VLLM: vllm, EngineName.TRANSFORMERS: transformers}
# Mounts of the engine that the agent has no use for.
_ENGINE_ONLY: Final = frozenset({contract.SHARED_MEMORY_DIRECTORY, contract.CONFIG_DIRECTORY})


def stateful_set(
    workspace: Workspace,
    preset: Preset,
    plan: InferencePlan,
    runtime: Runtime,
    *,
    parameters: Mapping[str, str],
    node_pins: Mapping[str, str] | None = None,
    revision: str = "",
    room: AdapterRoom | None = None,
) -> Object:
    """The workload of a preset as planned.

    `parameters` are the runtime's, complete (see `resolve_parameters`). `node_pins` are labels on which the pods insist
    beside the Workspace's own selector: those of the nodes made for it. `revision` is the number of the Workspace's
    revision, kept as an annotation. `room` is what the pods have room for of adapters; without it the engine has none.
    """
    labels = pod_labels(workspace)
    return {
        "apiVersion": STATEFUL_SETS.api_version,
        "kind": STATEFUL_SETS.kind,
        "metadata": child_metadata(
            workspace, workspace.metadata.name, {keys.WORKSPACE_REVISION: revision} if revision else None
        ),
        "spec": {
            "replicas": plan.node_count,
            # The parts of a model wait for one another, so none may wait for another to be ready first.
            "podManagementPolicy": "Parallel",
            "serviceName": headless_name(workspace),
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": _template_metadata(labels, runtime, parameters),
                "spec": _pod(workspace, preset, plan, runtime, parameters, node_pins=node_pins or {}, room=room),
            },
        },
    }


def _template_metadata(labels: Mapping[str, str], runtime: Runtime, parameters: Mapping[str, str]) -> Object:
    meta: Object = {"labels": dict(labels)}
    if runtime.annotations:
        meta["annotations"] = fill(runtime.annotations, parameters)
    return meta


def _pod(
    workspace: Workspace,
    preset: Preset,
    plan: InferencePlan,
    runtime: Runtime,
    parameters: Mapping[str, str],
    *,
    node_pins: Mapping[str, str],
    room: AdapterRoom | None,
) -> Object:
    storage = pod_volumes(workspace, runtime, parameters)
    engine = _ENGINES[runtime.engine]
    gpus = {plan.resource: str(plan.gpus_per_node)}
    container: dict[str, Any] = {
        "name": workspace.metadata.name,
        "image": fill(runtime.image, parameters),
        "imagePullPolicy": runtime.image_pull_policy,
        "command": fill(runtime.command, parameters),
        "args": engine.arguments(workspace, preset, plan, runtime, parameters),
        "env": engine.environment(workspace, preset, plan, runtime, parameters),
        "ports": [{"name": contract.PORT_NAME, "containerPort": contract.PORT, "protocol": "TCP"}],
        "resources": {"requests": gpus, "limits": dict(gpus)},
        "volumeMounts": storage.mounts,
        "securityContext": fill(runtime.security_context, parameters),
        **probes(preset),
    }
    pod: Object = {
        # The server calls no API server; Service names in the environment can shadow settings of the engine.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": contract.TERMINATION_SECONDS,
        "securityContext": fill(runtime.pod_security_context, parameters),
        "tolerations": tolerations(),
        "volumes": storage.volumes,
        "containers": [container],
    }
    if room is not None:
        beside = adapters.agent(
            workspace, preset, runtime, parameters, room=room, mounts=_without(storage.mounts, _ENGINE_ONLY)
        )
        _add_adapters(pod, room, adapters.volumes(workspace, room), beside)
    node_affinity = affinity(workspace, node_pins)
    if node_affinity is not None:
        pod["affinity"] = node_affinity
    return pod


def _add_adapters(pod: Object, room: AdapterRoom, volumes: list[dict[str, Any]], beside: Object | None) -> None:
    """The engine's arguments, variable and mount, and the agent beside it."""
    (engine,) = pod["containers"]
    lora = sorted(room.flags.items())
    engine["args"] = [*engine["args"], *(word for name, values in lora for word in (name, *values))]
    # Only the agent, in the same pod, reaches the endpoints that this opens: through the Service they answer 404.
    engine["env"] = [*engine["env"], {"name": contract.ENV_RUNTIME_LORA, "value": "True"}]
    engine["volumeMounts"] = [*engine["volumeMounts"], adapters.engine_mount()]
    pod["volumes"] = [*pod["volumes"], *volumes]
    if beside is not None:
        pod["containers"] = [engine, beside]


def _without(mounts: list[dict[str, Any]], paths: frozenset[str]) -> list[dict[str, Any]]:
    return [mount for mount in mounts if mount["mountPath"] not in paths]
