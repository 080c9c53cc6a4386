"""The StatefulSet that serves a preset: one pod a node, each holding its part of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve, field, frozen

from inference_server import contract
from kaito_controller.api import labels as keys
from kaito_controller.api.weights_uri import Scheme
from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.model import EngineName, Preset, Runtime
from kaito_controller.catalog.placeholders import fill
from kaito_controller.kube.core import STATEFUL_SETS
from kaito_controller.kube.metadata import Object
from kaito_controller.sizing.disk import disk_bytes
from kaito_controller.sizing.inference import InferencePlan
from kaito_controller.workloads import adapters
from kaito_controller.workloads.adapters import AdapterRoom
from kaito_controller.workloads.agent import agent_container
from kaito_controller.workloads.children import child_metadata, headless_name, pod_host, pod_labels, rank_variable
from kaito_controller.workloads.probes import probes
from kaito_controller.workloads.runtimes import transformers, vllm
from kaito_controller.workloads.scheduling import affinity, tolerations
from kaito_controller.workloads.volumes import pod_volumes
from kaito_controller.workloads.weights import Fetch, Weights, weights_of
from kaito_controller.workloads.weights_cache import WeightsCache, claim_templates

_ENGINES: Final = {EngineName.VLLM: vllm, EngineName.TRANSFORMERS: transformers}


@frozen(kw_only=True)
class PodOptions:
    """What the operator and the user's configuration decide about the pods.

    `weights_cache` is where fetched files are kept, `hub` the address of a hub other than the usual one, `trusts_code`
    whether the model's own programs are to run, `mistral` whether the engine reads Mistral's own format.
    """

    weights_cache: WeightsCache = field(factory=WeightsCache)
    hub: str = ""
    trusts_code: bool = False
    mistral: bool = False


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
    options: PodOptions | None = None,
) -> Object:
    """The workload of a preset as planned.

    `parameters` are the runtime's, complete (see `resolve_parameters`). `node_pins` are labels on which the pods insist
    beside the Workspace's own selector: those of the nodes made for it. `revision` is the number of the Workspace's
    revision, kept as an annotation. `room` is what the pods have room for of adapters; without it the engine has none.
    """
    labels = pod_labels(workspace)
    options = options or PodOptions()
    made: Object = {
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
                "spec": _pod(
                    workspace, preset, plan, runtime, parameters, node_pins=node_pins or {}, room=room, options=options
                ),
            },
        },
    }
    fetches = weights_of(workspace, preset, runtime, parameters).fetch is not None
    claims = claim_templates(runtime.volume_mounts, options.weights_cache, disk_bytes(preset)) if fetches else []
    if claims:
        made["spec"]["volumeClaimTemplates"] = claims
        # A replica that comes back finds its files; with the Workspace they go.
        made["spec"]["persistentVolumeClaimRetentionPolicy"] = {"whenScaled": "Retain", "whenDeleted": "Delete"}
    return made


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
    options: PodOptions,
) -> Object:
    weights = weights_of(workspace, preset, runtime, parameters)
    storage = pod_volumes(workspace, runtime, parameters, weights, options.weights_cache)
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
        _add_adapters(pod, room, adapters.volumes(workspace, room))
    if runtime.agent is not None and (room is not None or weights.fetch is not None):
        trusts = options.trusts_code or preset.engine_arguments.get("trust-remote-code") == "true"
        # Of both forms that a repository may hold, transformers reads its own.
        wants_mistral = options.mistral or preset.engine_arguments.get("load-format") == "mistral"
        mistral = runtime.engine is EngineName.VLLM and wants_mistral
        options = evolve(options, trusts_code=trusts, mistral=mistral)
        pod["initContainers"] = [
            agent_container(
                runtime,
                parameters,
                arguments=[
                    *_weights_words(weights.fetch, options),
                    *(_peers(workspace, plan) if weights.fetch is not None else ()),
                    *(adapters.arguments(workspace, preset, weights, room) if room is not None else ()),
                ],
                environment=[*_agent_environment(workspace, weights, room, options), *rank_variable(plan.node_count)],
                mounts=_each_once([*storage.agent_mounts, *(adapters.mounts(room) if room is not None else ())]),
            )
        ]
    node_affinity = affinity(workspace, node_pins)
    if node_affinity is not None:
        pod["affinity"] = node_affinity
    return pod


def _add_adapters(pod: Object, room: AdapterRoom, volumes: list[dict[str, Any]]) -> None:
    """The engine's arguments, variable and mount."""
    (engine,) = pod["containers"]
    engine["args"] = [*engine["args"], *room.engine_arguments]
    # Only the agent, in the same pod, reaches the endpoints that this opens: through the Service they answer 404.
    engine["env"] = [*engine["env"], {"name": contract.ENV_RUNTIME_LORA, "value": "True"}]
    engine["volumeMounts"] = [*engine["volumeMounts"], adapters.engine_mount()]
    pod["volumes"] = [*pod["volumes"], *volumes]


def _weights_words(fetch: Fetch | None, options: PodOptions) -> list[str]:
    if fetch is None:
        return []
    words = [contract.ARG_WEIGHTS, fetch.uri]
    for secret in fetch.pull_secrets:
        words += [contract.ARG_PULL_SECRET, secret]
    if options.trusts_code:
        words += [contract.ARG_WEIGHTS_CODE, "true"]
    if options.mistral and fetch.uri.startswith(f"{Scheme.HUB}://"):
        words += [contract.ARG_WEIGHTS_FORMAT, "mistral"]
    return words


def _peers(workspace: Workspace, plan: InferencePlan) -> list[str]:
    """The agents of a model that spans nodes know each other, so that all of them bring the same revision."""
    if plan.node_count == 1:
        return []
    return [
        *(contract.ARG_WEIGHTS_PEERS, f"http://{pod_host(workspace, '{}')}:{contract.AGENT_PORT}"),
        *(contract.ARG_NODE_COUNT, str(plan.node_count)),
        *(contract.ARG_NODE_RANK, f"$({contract.ENV_POD_INDEX})"),
    ]


def _agent_environment(
    workspace: Workspace, weights: Weights, room: AdapterRoom | None, options: PodOptions
) -> list[dict[str, Any]]:
    """The hub's address and token: of the model's hub, and of adapters that come from it."""
    address = [{"name": contract.ENV_HUB_ADDRESS, "value": options.hub}] if options.hub else []
    needs_token = room is not None or (weights.fetch is not None and bool(weights.fetch.token_secret))
    return [*address, *(vllm.hub_token(workspace.access_secret) if needs_token else ())]


def _each_once(mounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Weights and adapters may come from the same registry, whose Secret is mounted for both."""
    return list({mount["mountPath"]: mount for mount in reversed(mounts)}.values())[::-1]
