"""What the pods of a tuning Job say: whether one has started, why one ended, and what it said last. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from inference_server import contract
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.kube import metadata
from kaito_controller.kube.conditions import TRUE, condition_of, status_of
from kaito_controller.kube.core import JOBS
from kaito_controller.kube.metadata import Object

MESSAGE_LIMIT: Final = 512

_ENDED: Final = frozenset({"Succeeded", "Failed"})
_MEANINGS: Final[Mapping[int, str]] = {
    contract.EXIT_USAGE: "an argument is unknown, missing or malformed",
    contract.EXIT_DATA: "the data cannot be had or learnt from",
    contract.EXIT_MODEL: "the model cannot be found, read or is not safetensors",
    contract.EXIT_UNAVAILABLE: "a hub, registry or web server did not answer",
    contract.EXIT_ENGINE: "the training could not start or died",
    contract.EXIT_OUTPUT: "the result cannot be saved or pushed",
    contract.EXIT_STOPPED: "it was stopped by a signal, and the next try goes on from the last checkpoint",
    contract.EXIT_CONFIG: "the configuration is wrong, or does not fit the model and the GPU",
}


def of_job(snapshot: Snapshot, job: Object) -> tuple[Object, ...]:
    """The pods of a Job, the oldest first."""
    mine = snapshot.pods_of(job)
    return tuple(sorted(mine, key=lambda pod: (metadata.creation_timestamp(pod), metadata.name(pod))))


def are_running(snapshot: Snapshot) -> bool:
    """Whether a pod of a Job of the Workspace's name has not ended; those of a deleted one end after it."""
    name = metadata.name(snapshot.raw)
    owners = ((metadata.controller_of(pod) or {}, pod) for pod in snapshot.pods)
    mine = (pod for owner, pod in owners if (owner.get("kind"), owner.get("name")) == (JOBS.kind, name))
    return any(not has_ended(pod) for pod in mine)


def has_started(pod: Object) -> bool:
    """Whether a container of the pod runs or has run."""
    return any(_state(one, name) is not None for one in _containers(pod) for name in ("running", "terminated"))


def has_ended(pod: Object) -> bool:
    """Whether the pod will not run again."""
    return (pod.get("status") or {}).get("phase") in _ENDED


def ending(pod: Object) -> str:
    """Why a pod failed, as one sentence; empty while it has not."""
    status = pod.get("status") or {}
    if status.get("phase") != "Failed":
        return ""
    said = _disruption(pod) or _of_container(pod) or _of_pod(status) or "it says no more"
    return cut(f"pod {metadata.name(pod)}: {said}")


def last_words(pod: Object) -> Mapping[str, Any]:
    """The report that the training wrote when it ended well; empty where there is none. Untrusted."""
    for container in _containers(pod):
        end = _state(container, "terminated")
        if container.get("name") == contract.TUNE_CONTAINER and end and end.get("exitCode") == contract.EXIT_OK:
            return _decoded(str(end.get("message") or ""))
    return {}


def cut(text: str) -> str:
    """A text that fits into a condition beside others."""
    return text if len(text) <= MESSAGE_LIMIT else f"{text[:MESSAGE_LIMIT]}..."


def _decoded(text: str) -> Mapping[str, Any]:
    lines = text.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _disruption(pod: Object) -> str:
    if status_of(pod, "DisruptionTarget") != TRUE:
        return ""
    found = condition_of(pod, "DisruptionTarget") or {}
    return f"it was disrupted: {found.get('message') or found.get('reason') or 'its node was drained'}"


def _of_container(pod: Object) -> str:
    for container in _containers(pod):
        end = _state(container, "terminated")
        if not end or end.get("exitCode") == contract.EXIT_OK:
            continue
        name = container.get("name")
        if end.get("reason") == "OOMKilled":
            return f"container {name} was killed for memory of the node; give it a larger instance type"
        code = end.get("exitCode")
        meaning = _MEANINGS.get(code or 0, "see its log")
        # The last line says why, also where the kubelet gives the end of a log instead.
        words = next(iter(str(end.get("message") or "").strip().splitlines()[-1:]), "").strip()
        return f"container {name} ended with exit code {code}: {meaning}" + (f"; it said: {words}" if words else "")
    return ""


def _of_pod(status: Mapping[str, Any]) -> str:
    reason, message = status.get("reason") or "", status.get("message") or ""
    return ": ".join(str(word) for word in (reason, message) if word)


def _containers(pod: Object) -> Iterator[Mapping[str, Any]]:
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _state(container: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    return (container.get("state") or {}).get(name)
