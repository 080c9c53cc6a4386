"""The Job that tunes a preset: one pod on one node fetches the data, trains on every GPU, and saves or pushes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from attrs import frozen

from inference_server import contract
from kaito_controller.api import labels as keys
from kaito_controller.api.weights_uri import Scheme
from kaito_controller.api.workspace import TuningSpec, Workspace
from kaito_controller.catalog.model import Preset, Runtime, RuntimeContainer
from kaito_controller.catalog.placeholders import fill
from kaito_controller.kube.core import JOBS
from kaito_controller.kube.metadata import Object
from kaito_controller.sizing.tuning import TuningSize
from kaito_controller.workloads.children import child_metadata, pod_labels
from kaito_controller.workloads.scheduling import affinity, tolerations
from kaito_controller.workloads.secrets import secret_volumes
from kaito_controller.workloads.volumes import PodVolumes, with_runtime
from kaito_controller.workloads.weights import Weights, base_of

# Exit codes after which another try would end the same way: the Job fails at once.
FINAL_EXIT_CODES: Final = tuple(
    sorted((contract.EXIT_USAGE, contract.EXIT_DATA, contract.EXIT_MODEL, contract.EXIT_CONFIG))
)
# Further tries after a failure that may pass: a registry that is down, a GPU that fell off the bus.
BACKOFF_LIMIT: Final = 3
# Long enough to write a checkpoint of adapter and optimiser to slow storage.
TERMINATION_SECONDS: Final = 120

# What trains has all files, and asks nobody.
_OFFLINE: Final[Mapping[str, Any]] = {"name": contract.ENV_HUB_OFFLINE, "value": "1"}
_DATA_VOLUME: Final = "data-volume"
_RESULTS_VOLUME: Final = "results-volume"


@frozen(kw_only=True)
class TuningPod:
    """What a tuning pod is made from. `parameters` are the runtime's, complete (see `resolve_parameters`).

    `private_urls` are networks that data may come from although they are private, as CIDRs. `hub` is the address of a
    hub other than the usual one. `node_pins` are labels on which the pod insists beside the Workspace's own selector:
    those of the nodes made for it.
    """

    workspace: Workspace
    spec: TuningSpec
    preset: Preset
    size: TuningSize
    runtime: Runtime
    container: RuntimeContainer
    parameters: Mapping[str, str]
    private_urls: Sequence[str] = ()
    hub: str = ""
    node_pins: Mapping[str, str] | None = None

    @cached_property
    def base(self) -> Weights:
        """The way that the base model's files come."""
        return base_of(self.workspace, self.preset, self.runtime, self.parameters)


def job(pod: TuningPod, *, annotations: Mapping[str, str] | None = None) -> Object:
    """The Job. A finished one stays, for its logs; it is told apart from one of another spec by its `annotations`."""
    labels = pod_labels(pod.workspace)
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "metadata": child_metadata(pod.workspace, pod.workspace.metadata.name, annotations),
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": BACKOFF_LIMIT,
            "podFailurePolicy": {
                "rules": [
                    # A drained or preempted node says nothing of the run, whatever its containers ended with.
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {"action": "FailJob", "onExitCodes": {"operator": "In", "values": list(FINAL_EXIT_CODES)}},
                ]
            },
            "template": {"metadata": _template_metadata(pod, labels), "spec": _pod(pod)},
        },
    }


def _template_metadata(pod: TuningPod, labels: Mapping[str, str]) -> Object:
    annotations = {keys.DEFAULT_CONTAINER: contract.TUNE_CONTAINER, **fill(pod.runtime.annotations, pod.parameters)}
    return {"labels": dict(labels), "annotations": dict(sorted(annotations.items()))}


def _pod(pod: TuningPod) -> Object:
    runtime, storage = pod.runtime, _storage(pod)
    gpus = {pod.size.resource: str(pod.size.gpus)}
    ports = [{"name": contract.PORT_NAME, "containerPort": contract.TUNE_PORT, "protocol": "TCP"}]
    fetch = _container(pod, contract.TUNE_FETCH_CONTAINER, fetch_arguments(pod), storage.mounts)
    tune = _container(pod, contract.TUNE_CONTAINER, run_arguments(pod), storage.mounts, gpus)
    # Each sees the Secrets that it uses: what fetches speaks to the hub and to registries, what trains pushes.
    fetch["env"] = _by_name([*fetch["env"], *_of_hub(pod)])
    tune["env"] = _by_name([*tune["env"], _OFFLINE])
    pull, pull_mounts = secret_volumes("pull-secret", _pull_secrets(pod))
    push, push_mounts = secret_volumes("push-secret", [pod.spec.output.image_push_secret])
    fetch["volumeMounts"] += pull_mounts
    tune["volumeMounts"] += push_mounts
    made: Object = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": TERMINATION_SECONDS,
        "securityContext": fill(runtime.pod_security_context, pod.parameters),
        "tolerations": tolerations(),
        "volumes": [*storage.volumes, *pull, *push],
        "initContainers": [fetch],
        "containers": [{**tune, "ports": ports}],
    }
    node_affinity = affinity(pod.workspace, pod.node_pins or {})
    if node_affinity is not None:
        made["affinity"] = node_affinity
    return made


def _container(
    pod: TuningPod, name: str, arguments: list[str], mounts: list[dict[str, Any]], gpus: Mapping[str, str] | None = None
) -> dict[str, Any]:
    asked, gpus = pod.container.resources, gpus or {}
    resources = {kind: {**asked.get(kind, {}), **gpus} for kind in ("requests", "limits") if asked.get(kind) or gpus}
    made = {
        "name": name,
        "image": fill(pod.container.image, pod.parameters),
        "imagePullPolicy": pod.runtime.image_pull_policy,
        "command": fill(pod.container.command, pod.parameters),
        "args": arguments,
        "env": _environment(pod),
        "volumeMounts": list(mounts),
        "securityContext": fill(pod.runtime.security_context, pod.parameters),
        # What it said last, should it die without writing why.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    return {**made, "resources": resources} if resources else made


def fetch_arguments(pod: TuningPod) -> list[str]:
    """What brings the data, and the model where a hub or a registry has it."""
    source, fetched = pod.spec.input, pod.base.fetch
    return [
        contract.TUNE_FETCH,
        *(contract.ARG_METHOD, pod.spec.method.lower()),
        *(contract.ARG_MODEL, pod.base.location),
        *((contract.ARG_WEIGHTS, fetched.uri) if fetched is not None else ()),
        *(contract.ARG_DATA, contract.DATA_DIRECTORY),
        *_repeated(contract.ARG_DATA_URL, source.urls),
        *_repeated(contract.ARG_DATA_IMAGE, [source.image] if source.image else []),
        *_repeated(contract.ARG_PULL_SECRET, _pull_secrets(pod)),
        *(contract.ARG_SECRETS, contract.SECRETS_DIRECTORY),
        *_repeated(contract.ARG_ALLOW_PRIVATE_URLS, pod.private_urls),
        *_config(pod),
    ]


def run_arguments(pod: TuningPod) -> list[str]:
    """What trains, and saves or pushes."""
    target = pod.spec.output
    words = [
        contract.TUNE_RUN,
        *(contract.ARG_METHOD, pod.spec.method.lower()),
        *(contract.ARG_MODEL, pod.base.location),
        *(contract.ARG_MODEL_NAME, pod.preset.name),
        *_config(pod),
        *(contract.ARG_DATA, contract.DATA_DIRECTORY),
        *(contract.ARG_OUTPUT, contract.RESULTS_DIRECTORY),
    ]
    if target.image:
        words += [contract.ARG_OUTPUT_IMAGE, target.image, contract.ARG_PUSH_SECRET, target.image_push_secret]
        words += [contract.ARG_SECRETS, contract.SECRETS_DIRECTORY]
    return words


def _config(pod: TuningPod) -> list[str]:
    return [contract.ARG_CONFIG_FILE, contract.TUNING_CONFIG_FILE] if pod.spec.config else []


def _repeated(name: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (name, value)]


def _environment(pod: TuningPod) -> list[dict[str, Any]]:
    values: dict[str, str] = fill({**pod.runtime.environment, **pod.container.environment}, pod.parameters)
    return [{"name": name, "value": value} for name, value in values.items()]


def _by_name(env: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(env, key=lambda variable: str(variable["name"]))


def _of_hub(pod: TuningPod) -> list[Mapping[str, Any]]:
    """What fetches from a hub asks it as; otherwise none is asked."""
    fetched = pod.base.fetch
    if fetched is None or not fetched.uri.startswith(f"{Scheme.HUB}://"):
        return [_OFFLINE]
    made: list[Mapping[str, Any]] = [{"name": contract.ENV_HUB_ADDRESS, "value": pod.hub}] if pod.hub else []
    if fetched.token_secret:
        reference = {"name": fetched.token_secret, "key": contract.ENV_HUB_TOKEN, "optional": True}
        made.append({"name": contract.ENV_HUB_TOKEN, "valueFrom": {"secretKeyRef": reference}})
    return made


def _pull_secrets(pod: TuningPod) -> list[str]:
    """What opens the registries of the data and of the model, each once."""
    fetched = pod.base.fetch
    return list(dict.fromkeys([*pod.spec.input.image_pull_secrets, *(fetched.pull_secrets if fetched else ())]))


def _storage(pod: TuningPod) -> PodVolumes:
    """Shared memory, data, results and configuration, then what the runtime asks for."""
    source, target = pod.spec.input, pod.spec.output
    volumes: list[dict[str, Any]] = [
        {"name": "dshm", "emptyDir": {"medium": "Memory"}},
        {**(source.volume_source or {"emptyDir": {}}), "name": _DATA_VOLUME},
        {**(target.volume_source or {"emptyDir": {}}), "name": _RESULTS_VOLUME},
    ]
    data: dict[str, Any] = {"name": _DATA_VOLUME, "mountPath": contract.DATA_DIRECTORY}
    if source.volume_source is not None:
        data["readOnly"] = True
    mounts: list[dict[str, Any]] = [
        {"name": "dshm", "mountPath": contract.SHARED_MEMORY_DIRECTORY},
        data,
        {"name": _RESULTS_VOLUME, "mountPath": contract.RESULTS_DIRECTORY},
    ]
    if pod.spec.config:
        volumes.append({"name": "config-volume", "configMap": {"name": pod.spec.config}})
        mounts.append({"name": "config-volume", "mountPath": contract.CONFIG_DIRECTORY, "readOnly": True})
    volumes += [dict(volume) for volume in pod.base.volumes]
    mounts += [dict(mount) for mount in pod.base.mounts]
    return with_runtime(volumes, mounts, pod.runtime, pod.parameters)
