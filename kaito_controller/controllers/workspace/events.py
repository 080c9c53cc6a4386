"""The story that ``kubectl describe workspace`` tells: what a changed status means, as events. Pure.

Steps report what they did (claims, Services, workload) themselves; here is what came of it.
"""

from __future__ import annotations

from typing import Final

from kaito_controller.api.conditions import ConditionType
from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.workspace import adapter_status
from kaito_controller.controllers.workspace.status import existing_conditions
from kaito_controller.controllers.workspace.verdict import Notice, Outcome
from kaito_controller.kube import conditions
from kaito_controller.kube.conditions import FALSE, TRUE, Condition
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.errors import is_conflict

_REASONS: Final = {reason.value: reason for reason in Reason}

# Nothing is wrong and nothing happened: the conditions say what is waited for.
_QUIET: Final = frozenset(
    {
        Reason.NODE_CLAIM_NOT_READY,
        Reason.NODE_NOT_FOUND,
        Reason.NODE_PLUGINS_NOT_READY,
        Reason.RESOURCE_STATUS_NOT_READY,
        Reason.RESOURCE_NOT_REGISTERED,
        Reason.INFERENCE_PENDING,
        Reason.WEIGHTS_FETCHING,
        Reason.TUNING_PENDING,
        # Each adapter's own story is told by `adapter_status.news`.
        Reason.ADAPTERS_PENDING,
        Reason.ADAPTERS_FAILED,
        Reason.WORKSPACE_PENDING,
        Reason.WORKSPACE_FAILED,
        Reason.AWAITING_RECONCILIATION,
        Reason.STARTUP_TAINTS_EXIST,
        Reason.EPHEMERAL_TAINTS_EXIST,
    }
)

# Whose turning True is worth telling, in the order in which it happens.
_MILESTONES: Final = (
    ConditionType.NODE_CLAIM_READY,
    ConditionType.NODES_READY,
    ConditionType.INFERENCE_READY,
    ConditionType.JOB_STARTED,
)


def told_by(before: Object, after: Object) -> tuple[Notice, ...]:
    """Return the events of a Workspace whose status went from one to the other (both as whole objects)."""
    was, now = existing_conditions(before), existing_conditions(after)
    loaded = adapter_status.news(before.get("status") or {}, after.get("status") or {})
    turns = _ends(after, was, now) if after.get("tuning") else _turns(was, now)
    return (*_troubles(was, now), *_milestones(was, now), *loaded, *turns, *_departure(was, now))


def failures_in(outcome: Outcome) -> tuple[Notice, ...]:
    """Return the events of steps that failed for no reason that a condition carries; losing a race is none."""
    return tuple(
        Notice(
            reason=Reason.RECONCILE_FAILED, note=f"Step {name} failed and is tried again: {step.error}", warning=True
        )
        for name, step in outcome.steps.items()
        if step.error is not None and step.refusal is None and not is_conflict(step.error)
    )


def _troubles(was: tuple[Condition, ...], now: tuple[Condition, ...]) -> tuple[Notice, ...]:
    """Each new reason for which something does not hold, once however many conditions carry it."""
    known = {(condition.reason, condition.message) for condition in was if condition.status == FALSE}
    told: dict[str, Notice] = {}
    for condition in now:
        reason = _reason(condition)
        if condition.status != FALSE or reason is None or (condition.reason, condition.message) in known:
            continue
        if reason not in _QUIET and (reason is not Reason.NODE_NOT_READY or _had_nodes(was)):
            told.setdefault(reason, Notice(reason=reason, note=condition.message, warning=True))
    return tuple(told.values())


def _had_nodes(was: tuple[Condition, ...]) -> bool:
    """Whether nodes were ready before: only then is it news that they are not."""
    return conditions.is_true(was, ConditionType.NODES_READY)


def _milestones(was: tuple[Condition, ...], now: tuple[Condition, ...]) -> tuple[Notice, ...]:
    told = []
    for kind in _MILESTONES:
        found = conditions.find(now, kind)
        if found is None or found.status != TRUE or conditions.is_true(was, kind):
            continue
        reason = _reason(found)
        if reason is not None:
            told.append(Notice(reason=reason, note=found.message))
    return tuple(told)


def _reason(condition: Condition) -> Reason | None:
    """Return the reason as ours; None for one that another provisioner made up."""
    return _REASONS.get(condition.reason)


def _turns(was: tuple[Condition, ...], now: tuple[Condition, ...]) -> tuple[Notice, ...]:
    """The Workspace as a whole became ready, or stopped being so."""
    before = conditions.is_true(was, ConditionType.WORKSPACE_SUCCEEDED)
    found = conditions.find(now, ConditionType.WORKSPACE_SUCCEEDED)
    if found is None or before == (found.status == TRUE):
        return ()
    if before:
        return (Notice(reason=Reason.WORKSPACE_NOT_READY, note=found.message, warning=True),)
    return (Notice(reason=Reason.WORKSPACE_READY, note="The model answers on the Service of the Workspace's name"),)


def _ends(after: Object, was: tuple[Condition, ...], now: tuple[Condition, ...]) -> tuple[Notice, ...]:
    """The tuning ended well; what went wrong is told with JobStarted."""
    kind = ConditionType.WORKSPACE_SUCCEEDED
    if not conditions.is_true(now, kind) or conditions.is_true(was, kind):
        return ()
    output = ((after.get("status") or {}).get("tuning") or {}).get("output") or "on the volume of tuning.output"
    return (Notice(reason=Reason.WORKSPACE_SUCCEEDED, note=f"The tuning has ended; its adapter is {output}"),)


def _departure(was: tuple[Condition, ...], now: tuple[Condition, ...]) -> tuple[Notice, ...]:
    leaving = conditions.is_true(now, ConditionType.WORKSPACE_DELETING)
    if not leaving or conditions.is_true(was, ConditionType.WORKSPACE_DELETING):
        return ()
    return (Notice(reason=Reason.WORKSPACE_DELETED, note="Deleting the workload, then its nodes"),)
