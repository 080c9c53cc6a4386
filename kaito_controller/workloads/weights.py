"""How a model's files get to the engine of a pod: fetched by the agent, mounted, streamed, or by the engine itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve, field, frozen

from inference_server import contract
from kaito_controller.api import labels as keys
from kaito_controller.api.weights_uri import Scheme, WeightsUri
from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.model import Preset, Runtime

KAITO_FOLDER: Final = "/opt/kaito/models"
"""Where KAITO's `use-local-weights` looks on a node."""
VOLUME: Final = "model-weights"
_MOUNT: Final = "/mnt/model"
_STREAMER: Final = "runai_streamer"
_GOOGLE_KEY: Final = "GOOGLE_APPLICATION_CREDENTIALS"

# What the streamer's clients read, as its packages say: runai-model-streamer-s3, -gcs and -azure, version 0.17.
_OF_SECRET: Final[Mapping[Scheme, tuple[str, ...]]] = {
    Scheme.S3: (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_REGION",
        "AWS_ENDPOINT_URL",
    ),
    Scheme.GOOGLE: (),
    Scheme.AZURE: (
        "AZURE_STORAGE_ACCOUNT_NAME",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_CONNECTION_STRING",
    ),
}


@frozen(kw_only=True)
class Fetch:
    """What is brought: a URI, and what opens its hub or registry."""

    uri: str
    token_secret: str = ""
    pull_secrets: tuple[str, ...] = ()


@frozen(kw_only=True)
class Weights:
    """The way of one model.

    Attributes:
        location: what the engine is given as its model.
        fetch: what is brought there, by the agent or before a training; None when nothing is to be brought.
        by_engine: the engine downloads from the hub itself, where the runtime has no agent.
        arguments: further options of the engine, as `--name` to values.
        environment: further variables of the engine's container.
        volumes: further volumes of the pod.
        mounts: their mounts in the engine's container.
    """

    location: str
    fetch: Fetch | None = None
    by_engine: bool = False
    arguments: Mapping[str, tuple[str, ...]] = field(factory=dict)
    environment: tuple[Mapping[str, Any], ...] = ()
    volumes: tuple[Mapping[str, Any], ...] = ()
    mounts: tuple[Mapping[str, Any], ...] = ()


def uri_of(workspace: Workspace, preset: Preset) -> WeightsUri | None:
    """What the Workspace says of where its model's files are; None when it says nothing and the model's hub has them.

    An annotation counts before an artifact that the preset's name is.
    """
    asked = asked_uri(workspace)
    if asked is not None:
        return asked
    if preset.model_id.startswith(f"{Scheme.REGISTRY}://"):
        name = preset.model_id.removeprefix(f"{Scheme.REGISTRY}://").partition("@")[0]
        return WeightsUri(scheme=Scheme.REGISTRY, rest=f"{name}@{preset.revision}" if preset.revision else name)
    return None


def asked_uri(workspace: Workspace) -> WeightsUri | None:
    """What the annotation says, which counts before the switch of KAITO's, or that; None without them."""
    asked = workspace.metadata.annotations
    if keys.WEIGHTS in asked:
        return WeightsUri.parse(asked[keys.WEIGHTS])
    if asked.get(keys.USE_LOCAL_WEIGHTS) == "true" and workspace.preset is not None:
        folder = workspace.preset.name.lower().replace("/", "-").replace("\\", "-")
        return WeightsUri(scheme=Scheme.NODE, rest=f"{KAITO_FOLDER}/{folder}")
    return None


def needs_hub(workspace: Workspace, preset: Preset) -> bool:
    """Whether the model's files come from its hub, so that a gated one needs a token."""
    uri = uri_of(workspace, preset)
    return preset.weights_folder is None and (uri is None or uri.scheme is Scheme.HUB)


def weights_of(workspace: Workspace, preset: Preset, runtime: Runtime, parameters: Mapping[str, str]) -> Weights:
    """The way that the model's files go to the engine."""
    uri = _source(workspace, preset)
    if uri is None:
        return _of_runtime(preset, runtime, parameters)
    if uri.scheme.is_fetched:
        return _by_agent(workspace, uri) if runtime.agent is not None else _by_engine(uri)
    if uri.scheme.is_streamed:
        return _streamed(workspace, uri)
    return _mounted(uri)


def base_of(workspace: Workspace, preset: Preset, runtime: Runtime, parameters: Mapping[str, str]) -> Weights:
    """The way that a model's files go to the pod that tunes it, whose first container fetches where need be.

    Raises ValueError for what only an engine reads, from object storage.
    """
    uri = _source(workspace, preset)
    if uri is None:
        return _of_runtime(preset, runtime, parameters)
    if uri.scheme.is_streamed:
        raise ValueError(f"{uri}: object storage is read by engines alone")
    return _fetched(workspace, uri) if uri.scheme.is_fetched else _mounted(uri)


def _source(workspace: Workspace, preset: Preset) -> WeightsUri | None:
    """What the Workspace says, else the model's hub; None for a model that the runtime itself has."""
    uri = uri_of(workspace, preset)
    if uri is not None or preset.weights_folder is not None:
        return uri
    commit = f"@{preset.commit}" if preset.commit else ""
    return WeightsUri(scheme=Scheme.HUB, rest=f"{preset.model_id}{commit}")


def _of_runtime(preset: Preset, runtime: Runtime, parameters: Mapping[str, str]) -> Weights:
    if runtime.models_parameter is None:
        return Weights(location=preset.model_id)
    return Weights(location=f"{parameters[runtime.models_parameter]}/{preset.weights_folder}")


def _by_engine(uri: WeightsUri) -> Weights:
    """The engine asks a hub itself; of a registry it knows nothing, which is told before there is a pod."""
    if uri.scheme is not Scheme.HUB:
        return Weights(location=str(uri))
    name, _, revision = uri.rest.partition("@")
    arguments = {contract.ARG_DOWNLOAD_DIR: (contract.WEIGHTS_DIRECTORY,)}
    arguments |= {contract.ARG_REVISION: (revision,)} if revision else {}
    return Weights(location=name, by_engine=True, arguments=arguments)


def _by_agent(workspace: Workspace, uri: WeightsUri) -> Weights:
    waits = {contract.ARG_WEIGHTS_AGENT: (f"http://127.0.0.1:{contract.AGENT_PORT}",)}
    return evolve(_fetched(workspace, uri), arguments=waits)


def _fetched(workspace: Workspace, uri: WeightsUri) -> Weights:
    is_hub = uri.scheme is Scheme.HUB
    options = workspace.preset.preset_options if workspace.preset is not None else None
    return Weights(
        location=f"{contract.WEIGHTS_DIRECTORY}/{contract.weights_folder_name(str(uri))}",
        fetch=Fetch(
            uri=str(uri),
            token_secret=workspace.access_secret if is_hub else "",
            pull_secrets=options.image_pull_secrets if options is not None and not is_hub else (),
        ),
    )


def _mounted(uri: WeightsUri) -> Weights:
    """Read where they are, never written: a claim's folder, or one of the node."""
    if uri.scheme is Scheme.NODE:
        source: dict[str, Any] = {"hostPath": {"path": uri.rest, "type": "Directory"}}
        location = _MOUNT
    else:
        claim, path = uri.claim
        source = {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        location = f"{_MOUNT}/{path}" if path else _MOUNT
    mount = {"name": VOLUME, "mountPath": _MOUNT, "readOnly": True}
    return Weights(location=location, volumes=({"name": VOLUME, **source},), mounts=(mount,))


def _streamed(workspace: Workspace, uri: WeightsUri) -> Weights:
    secret = workspace.access_secret
    environment: list[Mapping[str, Any]] = []
    volumes: tuple[Mapping[str, Any], ...] = ()
    mounts: tuple[Mapping[str, Any], ...] = ()
    if secret:
        environment = [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name, "optional": True}}}
            for name in _OF_SECRET[uri.scheme]
        ]
    if secret and uri.scheme is Scheme.GOOGLE:
        # Google's clients take a file, so the key of that name holds the file's content.
        folder = f"{contract.SECRETS_DIRECTORY}/{secret}"
        shown = {"secretName": secret, "items": [{"key": _GOOGLE_KEY, "path": _GOOGLE_KEY}]}
        volumes = ({"name": VOLUME, "secret": shown},)
        mounts = ({"name": VOLUME, "mountPath": folder, "readOnly": True},)
        file = f"{folder}/{_GOOGLE_KEY}"
        environment = [{"name": name, "value": file} for name in (_GOOGLE_KEY, "RUNAI_STREAMER_GCS_CREDENTIAL_FILE")]
    return Weights(
        location=str(uri),
        arguments={contract.ARG_LOAD_FORMAT: (_STREAMER,)},
        environment=tuple(environment),
        volumes=volumes,
        mounts=mounts,
    )
