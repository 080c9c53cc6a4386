"""Whether a model's files can be had from where the Workspace says, with this runtime and these settings. Pure."""

from __future__ import annotations

from pathlib import PurePosixPath

from kaito_controller.api import labels as keys
from kaito_controller.api.reasons import Reason
from kaito_controller.api.weights_uri import Scheme, WeightsUri
from kaito_controller.controllers.workspace.plan import Ground
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.workloads.weights import uri_of


def objection(ground: Ground) -> Blocked | None:
    """Return why an engine cannot have them, or None."""
    uri = uri_of(ground.workspace, ground.preset)
    if uri is None:
        return None
    runtime = ground.runtime
    forbidden = _forbidden_folder(uri, ground)
    if forbidden is not None:
        return forbidden
    if uri.scheme.is_streamed and not runtime.object_storage:
        return Blocked(
            reason=Reason.RUNTIME_UNSUPPORTED,
            message=(
                f"metadata.annotations[{keys.WEIGHTS}]: runtime {runtime.name} holds nothing that streams from object "
                f"storage, found {uri}. Use a runtime that does, or oci://, hf:// or pvc://."
            ),
        )
    if uri.scheme is Scheme.REGISTRY and runtime.agent is None:
        return Blocked(
            reason=Reason.RUNTIME_UNSUPPORTED,
            message=(
                f"runtime {runtime.name} has no agent, which pulls models from registries; found {uri}. Use a runtime "
                "with one, or hf:// or pvc://."
            ),
        )
    return None


def objection_to_base(ground: Ground) -> Blocked | None:
    """Return why a training cannot have them, or None."""
    uri = uri_of(ground.workspace, ground.preset)
    if uri is None:
        return None
    if uri.scheme.is_streamed:
        return Blocked(
            reason=Reason.RUNTIME_UNSUPPORTED,
            message=(
                f"metadata.annotations[{keys.WEIGHTS}]: tuning does not read object storage, found {uri}. "
                "Use oci://, hf://, pvc:// or node://."
            ),
        )
    return _forbidden_folder(uri, ground)


def _forbidden_folder(uri: WeightsUri, ground: Ground) -> Blocked | None:
    if uri.scheme is not Scheme.NODE or _is_allowed(uri.rest, ground.settings.weights_folders):
        return None
    allowed = ", ".join(ground.settings.weights_folders) or "none"
    key = keys.WEIGHTS if keys.WEIGHTS in ground.workspace.metadata.annotations else keys.USE_LOCAL_WEIGHTS
    return Blocked(
        reason=Reason.INVALID_SPEC,
        message=(
            f"metadata.annotations[{key}]: of a node's folders only those below {allowed} are read, since "
            f"others are not the Workspace's to see; found {uri.rest}. Put the model there, or have the operator "
            "started with --weights-node-folder."
        ),
    )


def _is_allowed(folder: str, allowed: tuple[str, ...]) -> bool:
    return any(PurePosixPath(folder).is_relative_to(one) for one in allowed)
