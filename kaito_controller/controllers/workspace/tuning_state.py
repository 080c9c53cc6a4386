"""Where a tuning run stands, from its Job, its pods and what was known before. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from attrs import frozen

from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.workspace import job_pods, pods
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.verdict import Verdict
from kaito_controller.kube import metadata
from kaito_controller.kube.conditions import TRUE, condition_of, status_of
from kaito_controller.kube.metadata import Object


class State(StrEnum):
    """`status.state` of a Workspace that tunes."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@frozen(kw_only=True)
class TuningState:
    """The state, and why: a reason where one is known, and a sentence that may be empty."""

    state: State
    reason: Reason | None = None
    message: str = ""


def state_of(snapshot: Snapshot, run: str, job: Object | None) -> TuningState:
    """Where a run stands; `job` is the Job of it, None where there is none.

    A Job that is gone after its run succeeded leaves the run succeeded: its adapter is where it was put.
    """
    if job is None:
        state = State.SUCCEEDED if has_succeeded(snapshot, run) else State.PENDING
        return TuningState(state=state)
    if status_of(job, "Complete") == TRUE:
        return TuningState(state=State.SUCCEEDED)
    mine = job_pods.of_job(snapshot, job)
    if status_of(job, "Failed") == TRUE:
        return TuningState(state=State.FAILED, reason=Reason.TUNING_FAILED, message=_why(job, mine))
    ended = next((said for pod in reversed(mine) if (said := job_pods.ending(pod))), "")
    trouble = pods.trouble(pod for pod in mine if not job_pods.has_ended(pod))
    if ended or any(job_pods.has_started(pod) for pod in mine):
        words = [f"another try is made, as {ended}"] if ended else []
        words += [trouble.message] if trouble is not None else []
        return TuningState(state=State.RUNNING, message="; ".join(words))
    if trouble is not None:
        return TuningState(state=State.PENDING, reason=trouble.reason, message=trouble.message)
    return TuningState(state=State.PENDING)


def has_succeeded(snapshot: Snapshot, run: str) -> bool:
    """Whether the Workspace says already that this run succeeded."""
    status: Mapping[str, Any] = snapshot.raw.get("status") or {}
    return status.get("state") == State.SUCCEEDED and (status.get("tuning") or {}).get("run") == run


def started(found: TuningState) -> Verdict:
    """JobStarted."""
    if found.state is State.FAILED:
        message = f"tuning job failed: {found.message}"
        return Verdict(holds=False, reason=Reason.TUNING_FAILED, message=message)
    if found.state is not State.PENDING:
        return Verdict(holds=True, reason=Reason.TUNING_STARTED, message="Tuning job has started")
    reason = found.reason or Reason.TUNING_PENDING
    return Verdict(holds=False, reason=reason, message=found.message or "Tuning job has not started")


def succeeded(found: TuningState, resource: Verdict) -> Verdict:
    """WorkspaceSucceeded; what happens to its nodes after the end is not held against it."""
    if found.state is State.SUCCEEDED:
        return Verdict(holds=True, reason=Reason.WORKSPACE_SUCCEEDED, message="workspace succeeds")
    if found.state is State.FAILED:
        return Verdict(holds=False, reason=Reason.WORKSPACE_FAILED, message=f"tuning job failed: {found.message}")
    if found.state is State.RUNNING:
        text = "workspace has not completed yet, tuning job is running"
    else:
        text = "workspace is initializing, tuning job has not started"
    missing = found.message or ("" if resource.holds else resource.message)
    message = f"{text}: {missing}" if missing else text
    return Verdict(holds=False, reason=Reason.WORKSPACE_PENDING, message=message)


def _why(job: Object, mine: tuple[Object, ...]) -> str:
    """What the last pod said, else what the Job controller says of it."""
    said = next((said for pod in reversed(mine) if (said := job_pods.ending(pod))), "")
    found = condition_of(job, "Failed") or {}
    theirs = ": ".join(str(found[name]) for name in ("reason", "message") if found.get(name))
    return said or job_pods.cut(theirs) or f"Job {metadata.name(job)} says no more"
