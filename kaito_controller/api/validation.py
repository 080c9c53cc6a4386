"""What is wrong with a Workspace beyond its form, and which of its fields nothing acts on. Pure.

The API server checks most of this at apply time (`workspace_rules`, `annotation_rules`). It is checked here too, since
an object may be older than the rules. What needs the catalogue, the cluster or the operator's flags is decided by the
controller.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from attrs import frozen

from kaito_controller.api import labels
from kaito_controller.api.weights_uri import FORMS, Scheme, WeightsUri
from kaito_controller.api.workspace import AdapterSpec, DataDestination, DataSource, PresetSpec, Workspace
from kaito_controller.api.workspace_rules import ADAPTER_NAME_LENGTH, HUB_URL, MAX_ADAPTERS

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
METHODS = ("lora", "qlora")

_HUB_URL = re.compile(HUB_URL)
_WEB_URL = re.compile(r"https?://[^/?#\s]+\S*", re.IGNORECASE)
_DECIMAL = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")


@frozen(kw_only=True)
class Problem:
    """A rule that a field breaks: what was found, and what to do about it."""

    field: str
    rule: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}; found {self.found}; {self.remedy}"


def problems(workspace: Workspace) -> tuple[Problem, ...]:
    """Every rule that the Workspace breaks, in the order of its fields; none when it can be planned."""
    return tuple(problem for check in _CHECKS for problem in check(workspace))


def unimplemented_fields(workspace: Workspace) -> tuple[str, ...]:
    """Paths of the fields that are set although this release does not act on them."""
    named = [path for path, is_set in _IDLE_FIELDS.items() if is_set(workspace)]
    asked = [_annotation(key) for key in _IDLE_ANNOTATIONS if key in workspace.metadata.annotations]
    marked = [_label(key) for key in _IDLE_LABELS if key in workspace.metadata.labels]
    return (*named, *asked, *marked)


def paths_without_effect() -> tuple[str, ...]:
    """Every path that `unimplemented_fields` can name, for the reference page."""
    return (
        *_IDLE_FIELDS,
        *(_annotation(key) for key in _IDLE_ANNOTATIONS),
        *(_label(key) for key in _IDLE_LABELS),
    )


def _annotation(key: str) -> str:
    return f"metadata.annotations[{key}]"


def _label(key: str) -> str:
    return f"metadata.labels[{key}]"


def _one_purpose(workspace: Workspace) -> Iterator[Problem]:
    if (workspace.inference is None) == (workspace.tuning is None):
        yield Problem(
            field="inference, tuning",
            rule="exactly one of them must be given",
            found="neither" if workspace.inference is None else "both",
            remedy="give inference to serve a model, or tuning to fine-tune one, and remove the other",
        )


def _one_server(workspace: Workspace) -> Iterator[Problem]:
    inference = workspace.inference
    if inference is not None and (inference.preset is None) == (inference.template is None):
        yield Problem(
            field="inference.preset, inference.template",
            rule="exactly one of them must be given",
            found="neither" if inference.preset is None else "both",
            remedy="name a preset of the catalogue or give a pod of your own",
        )


def _nodes(workspace: Workspace) -> Iterator[Problem]:
    count = workspace.resource.count
    if count is not None and count < 1:
        yield Problem(
            field="resource.count",
            rule="must be at least 1",
            found=str(count),
            remedy="leave it out to let the plan decide",
        )
    if workspace.tuning is not None and (count or 1) > 1:
        yield Problem(
            field="resource.count",
            rule="tuning runs on one node",
            found=str(count),
            remedy="leave it out or set it to 1",
        )
    if workspace.resource.partition is not None and workspace.resource.instance_type:
        yield Problem(
            field="resource.partition",
            rule="only for existing nodes, as nodes that are made are used whole",
            found=f"instanceType {workspace.resource.instance_type!r} beside it",
            remedy="remove partition or instanceType",
        )


def _adapters(workspace: Workspace) -> Iterator[Problem]:
    adapters = workspace.inference.adapters if workspace.inference is not None else ()
    if len(adapters) > MAX_ADAPTERS:
        yield Problem(
            field="inference.adapters",
            rule=f"at most {MAX_ADAPTERS} fit beside a model",
            found=str(len(adapters)),
            remedy="remove some",
        )
    names = [adapter.source.name for adapter in adapters if adapter.source is not None]
    for index, adapter in enumerate(adapters):
        yield from _adapter(f"inference.adapters[{index}]", adapter, names)


def _adapter(path: str, adapter: AdapterSpec, names: list[str]) -> Iterator[Problem]:
    source = adapter.source
    if source is None:
        yield Problem(field=f"{path}.source", rule="required", found="nothing", remedy="name an image or a volume")
        return
    if len(source.name) > ADAPTER_NAME_LENGTH or not _DNS_LABEL.fullmatch(source.name):
        yield Problem(
            field=f"{path}.source.name",
            rule=f"must be at most {ADAPTER_NAME_LENGTH} lower-case letters, digits and '-'",
            found=repr(source.name),
            remedy="give the adapter such a name",
        )
    if names.count(source.name) > 1:
        yield Problem(
            field=f"{path}.source.name",
            rule="must be unique, as requests choose an adapter by it",
            found=repr(source.name),
            remedy="rename one of the equal ones",
        )
    if _sources(source) != 1:
        yield Problem(
            field=f"{path}.source",
            rule="exactly one of image, volumeSource and urls must be given",
            found=f"{_sources(source)} sources",
            remedy="keep the one that holds the adapter",
        )
    if source.urls and (len(source.urls) > 1 or not _HUB_URL.fullmatch(source.urls[0])):
        yield Problem(
            field=f"{path}.source.urls",
            rule="only one of a hub, hf://organisation/name or hf://organisation/name@revision",
            found=", ".join(source.urls)[:200],
            remedy="give such a one, an image or a volumeSource",
        )
    if adapter.strength is not None and not _is_share(adapter.strength):
        yield Problem(
            field=f"{path}.strength",
            rule="must be a number from 0 to 1 in quotes",
            found=repr(adapter.strength),
            remedy='give one such as "0.5"',
        )


def _tuning(workspace: Workspace) -> Iterator[Problem]:
    tuning = workspace.tuning
    if tuning is None:
        return
    if tuning.preset is None:
        yield Problem(field="tuning.preset", rule="required", found="nothing", remedy="name the model to tune")
    if tuning.method.lower() not in METHODS:
        yield Problem(
            field="tuning.method",
            rule=f"must be one of {', '.join(METHODS)}",
            found=repr(tuning.method),
            remedy="choose one",
        )
    if _sources(tuning.input) != 1:
        yield Problem(
            field="tuning.input",
            rule="exactly one of urls, volumeSource and image must be given",
            found=f"{_sources(tuning.input)} sources",
            remedy="keep the one that holds the data",
        )
    for index, url in enumerate(tuning.input.urls):
        if not _WEB_URL.fullmatch(url):
            yield Problem(
                field=f"tuning.input.urls[{index}]",
                rule="must be an http or https URL with a host",
                found=repr(url),
                remedy="correct it",
            )
    yield from _destination(tuning.output)


def _destination(output: DataDestination) -> Iterator[Problem]:
    given = (output.volume_source is not None) + bool(output.image)
    if given != 1:
        yield Problem(
            field="tuning.output",
            rule="exactly one of volumeSource and image must be given",
            found="both" if given else "neither",
            remedy="keep the one that takes the result",
        )
    if output.image and not output.image_push_secret:
        yield Problem(
            field="tuning.output.imagePushSecret",
            rule="required with image",
            found="nothing",
            remedy="name the Secret that opens the registry for writing",
        )


def _sources(source: DataSource) -> int:
    return bool(source.urls) + (source.volume_source is not None) + bool(source.image)


def _is_share(text: str) -> bool:
    return _DECIMAL.fullmatch(text) is not None and 0.0 <= float(text) <= 1.0


def _weights(workspace: Workspace) -> Iterator[Problem]:
    text = workspace.metadata.annotations.get(labels.WEIGHTS)
    if text is not None and WeightsUri.parse(text) is None:
        yield Problem(
            field=_annotation(labels.WEIGHTS),
            rule=f"must be one of {FORMS}",
            found=repr(text[:200]),
            remedy="correct or remove it",
        )


_CHECKS: tuple[Callable[[Workspace], Iterable[Problem]], ...] = (
    _one_purpose,
    _one_server,
    _nodes,
    _adapters,
    _tuning,
    _weights,
)


def _of_preset(purpose: str, is_set: Callable[[PresetSpec], Any]) -> Callable[[Workspace], bool]:
    def check(workspace: Workspace) -> bool:
        return workspace.purpose == purpose and workspace.preset is not None and bool(is_set(workspace.preset))

    return check


_IDLE_OF_PRESETS: Mapping[str, Callable[[PresetSpec], Any]] = {
    "accessMode": lambda preset: preset.access_mode != "public",
    "presetOptions.image": lambda preset: preset.preset_options.image,
}


def _is_of_registry(workspace: Workspace) -> bool:
    preset, prefix = workspace.preset, f"{Scheme.REGISTRY}://"
    asked = workspace.metadata.annotations.get(labels.WEIGHTS)
    return (asked if asked is not None else preset.name if preset is not None else "").startswith(prefix)


def _has_idle_pull_secrets(purpose: str) -> Callable[[Workspace], bool]:
    named = _of_preset(purpose, lambda preset: preset.preset_options.image_pull_secrets)
    return lambda workspace: named(workspace) and not _is_of_registry(workspace)


# A field leaves this table in the commit that makes it work.
_IDLE_FIELDS: Mapping[str, Callable[[Workspace], bool]] = {
    "resource.preferredNodes": lambda workspace: bool(workspace.resource.preferred_nodes),
    "resource.partition": lambda workspace: workspace.resource.partition is not None,
    **{
        f"{purpose}.preset.{name}": _of_preset(purpose, is_set)
        for purpose in ("inference", "tuning")
        for name, is_set in _IDLE_OF_PRESETS.items()
    },
    **{
        f"{purpose}.preset.presetOptions.imagePullSecrets": _has_idle_pull_secrets(purpose)
        for purpose in ("inference", "tuning")
    },
    "inference.template": lambda workspace: (
        workspace.inference is not None and workspace.inference.template is not None
    ),
    # There is no benchmark yet, so leaving it out is honoured and asking for it is not.
    _annotation(labels.DISABLE_BENCHMARK): lambda workspace: (
        workspace.metadata.annotations.get(labels.DISABLE_BENCHMARK, "true") != "true"
    ),
    # Nothing streams from a mirror, so opting out of it is honoured.
    _annotation(labels.MODEL_STREAMING): lambda workspace: (
        workspace.metadata.annotations.get(labels.MODEL_STREAMING, "disabled") != "disabled"
    ),
}

_IDLE_ANNOTATIONS = (
    labels.BYPASS_RESOURCE_CHECKS,
    labels.NODE_CLASS_NAME,
    labels.MODEL_MIRROR_STORAGE_CLASS,
    labels.STREAMING_SERVICE_ACCOUNT,
    labels.STATIC_MODEL_MIRROR,
    labels.STREAM_DATAREFS_URL,
    labels.STREAM_IDENTITY_CLIENT_ID,
    labels.STREAM_SOURCE_TYPE,
    labels.UPGRADE_START_TIME,
)

_IDLE_LABELS = (labels.INFERENCE_ROLE, labels.UPGRADE_TO_VERSION)
