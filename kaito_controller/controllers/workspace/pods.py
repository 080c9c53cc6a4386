"""What keeps a pod from serving, as the one reason the user should read first. Pure.

The order of the checks is KAITO's: the first that any pod fails is the workspace's reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from inference_server import contract
from kaito_controller.api.reasons import Reason
from kaito_controller.kube import metadata
from kaito_controller.kube.conditions import TRUE, condition_of, status_of
from kaito_controller.kube.metadata import Object

MESSAGE_LIMIT: Final = 256

_PULL_REASONS: Final = frozenset(
    {
        "ImagePullBackOff",
        "ErrImagePull",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
    }
)
_START_REASONS: Final = frozenset(
    {
        "CreateContainerConfigError",
        "PreCreateHookError",
        "CreateContainerError",
        "PreStartHookError",
        "RunContainerError",
        "PostStartHookError",
    }
)
_EXIT_MEANINGS: Final[Mapping[int, str]] = {
    contract.EXIT_USAGE: "an argument of the server is unknown, missing or malformed",
    contract.EXIT_MODEL: "the model cannot be found, read or is not safetensors",
    contract.EXIT_ENGINE: "the engine could not start or died",
    contract.EXIT_CONFIG: "the config file of inference.config is missing, not YAML or names an unknown option",
}


@frozen(kw_only=True)
class Trouble:
    """Why a pod does not serve: a reason for programs and a sentence for people."""

    reason: Reason
    message: str


def trouble(pods: Iterable[Object]) -> Trouble | None:
    """Return the first reason why a pod is not ready, or None when none says why (it may merely be starting)."""
    waiting = sorted((pod for pod in pods if not is_ready(pod)), key=metadata.name)
    for check in _CHECKS:
        for pod in waiting:
            found = check(pod)
            if found is not None:
                message = found.message
                cut = message if len(message) <= MESSAGE_LIMIT else f"{message[:MESSAGE_LIMIT]}..."
                return Trouble(reason=found.reason, message=cut)
    return None


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether the kubelet says that the pod answers its readiness probe."""
    return status_of(pod, "Ready") == TRUE


def _containers(pod: Object) -> Iterator[Mapping[str, Any]]:
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _waiting(container: Mapping[str, Any]) -> Mapping[str, Any]:
    return (container.get("state") or {}).get("waiting") or {}


def _terminations(container: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for state in ("state", "lastState"):
        terminated = (container.get(state) or {}).get("terminated")
        if terminated:
            yield terminated


def _out_of_memory(pod: Object) -> Trouble | None:
    for container in _containers(pod):
        if any(end.get("reason") == "OOMKilled" for end in _terminations(container)):
            cure = "give it a larger instance type or a shorter context"
            text = f"{_where(pod, container)} was killed for memory; {cure}"
            return Trouble(reason=Reason.CONTAINER_OOM_KILLED, message=text)
    return None


def _waits_for(reasons: frozenset[str], reason: Reason) -> Callable[[Object], Trouble | None]:
    def check(pod: Object) -> Trouble | None:
        for container in _containers(pod):
            waiting = _waiting(container)
            if waiting.get("reason") in reasons:
                text = f"{_where(pod, container)}: {waiting['reason']}: {waiting.get('message') or 'no message'}"
                return Trouble(reason=reason, message=text)
        return None

    return check


def _crash_loop(pod: Object) -> Trouble | None:
    for container in _containers(pod):
        if _waiting(container).get("reason") == "CrashLoopBackOff":
            end = next(_terminations(container), {})
            code = end.get("exitCode")
            meaning = _EXIT_MEANINGS.get(code or 0, "see kubectl logs --previous")
            said = f"; it said: {end['message'].strip()}" if end.get("message") else ""
            text = f"{_where(pod, container)} keeps crashing, exit code {code}: {meaning}{said}"
            return Trouble(reason=Reason.CONTAINER_CRASH_LOOP, message=text)
    return None


def _evicted(pod: Object) -> Trouble | None:
    status = pod.get("status") or {}
    if status.get("reason") != "Evicted":
        return None
    said = str(status.get("message") or "")
    if "ephemeral-storage" in said or "disk" in said.lower():
        reason = Reason.NODE_DISK_PRESSURE
    elif "memory" in said.lower():
        reason = Reason.NODE_MEMORY_PRESSURE
    else:
        reason = Reason.POD_EVICTED
    return Trouble(reason=reason, message=f"pod {metadata.name(pod)} was evicted: {said or 'no message'}")


def _unschedulable(pod: Object) -> Trouble | None:
    found = condition_of(pod, "PodScheduled")
    if found is None or found.get("status") != "False" or found.get("reason") != "Unschedulable":
        return None
    text = f"pod {metadata.name(pod)}: {found.get('message') or 'no node takes it'}"
    return Trouble(reason=Reason.UNSCHEDULABLE, message=text)


def _where(pod: Object, container: Mapping[str, Any]) -> str:
    return f"pod {metadata.name(pod)}, container {container.get('name')}"


_CHECKS: Final[tuple[Callable[[Object], Trouble | None], ...]] = (
    _out_of_memory,
    _waits_for(_PULL_REASONS, Reason.IMAGE_PULL_ERROR),
    _waits_for(_START_REASONS, Reason.CONTAINER_START_ERROR),
    _crash_loop,
    _evicted,
    _unschedulable,
)
