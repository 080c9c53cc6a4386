"""The claim's conditions: their first values, what each step says, and Ready as the sum of the three steps.

Semantics of Karpenter: Launched, Registered and Initialized start Unknown as of the claim's creation; Ready is True
when all three are, False when one is, else Unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from kaito_controller.api.conditions import ConditionType
from kaito_controller.api.nodeclaim import NodeClaim
from kaito_controller.api.reasons import Reason
from kaito_controller.kube import conditions
from kaito_controller.kube.conditions import FALSE, TRUE, UNKNOWN, Condition

STEPS = (ConditionType.LAUNCHED, ConditionType.REGISTERED, ConditionType.INITIALIZED)
MESSAGE_LIMIT = 1024


def holds(type: ConditionType) -> Condition:  # noqa: A002
    """The condition as True: its reason is its own name, and there is nothing to say."""
    return Condition(type=type.value, status=TRUE, reason=type.value)


def unknown(type: ConditionType, reason: Reason | str, message: str) -> Condition:  # noqa: A002
    """The condition as Unknown: on its way, for this reason."""
    return Condition(type=type.value, status=UNKNOWN, reason=str(reason), message=shortened(message))


def fails(type: ConditionType, reason: Reason | str, message: str) -> Condition:  # noqa: A002
    """The condition as False, for this reason."""
    return Condition(type=type.value, status=FALSE, reason=str(reason), message=shortened(message))


def shortened(message: str) -> str:
    """The message, cut where a cloud's error fills pages."""
    return message if len(message) <= MESSAGE_LIMIT else f"{message[: MESSAGE_LIMIT - 1]}…"


def of(claim: NodeClaim) -> tuple[Condition, ...]:
    """The claim's conditions with those of the three steps that are missing seeded as Unknown since its creation."""
    present = {condition.type for condition in claim.status.conditions}
    seeds = tuple(
        Condition(
            type=step.value,
            status=UNKNOWN,
            reason=Reason.AWAITING_RECONCILIATION.value,
            message="object is awaiting reconciliation",
            last_transition_time=claim.metadata.creation_timestamp,
        )
        for step in STEPS
        if step.value not in present
    )
    return (*claim.status.conditions, *seeds)


def updated(
    existing: Sequence[Condition], found: Iterable[Condition], *, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The conditions with what was found, and Ready summed up afterwards."""
    stamped = [_observed(condition, generation) for condition in found]
    merged = conditions.merge(existing, stamped, now=now)
    return conditions.merge(merged, [_observed(ready(merged), generation)], now=now)


def ready(merged: Sequence[Condition]) -> Condition:
    """Ready, from the three steps."""
    statuses = {step.value: _status(merged, step) for step in STEPS}
    if all(status == TRUE for status in statuses.values()):
        return holds(ConditionType.READY)
    waits = ", ".join(f"{name}={status}" for name, status in statuses.items() if status != TRUE)
    if FALSE in statuses.values():
        return fails(ConditionType.READY, Reason.UNHEALTHY_DEPENDENTS, waits)
    return unknown(ConditionType.READY, Reason.RECONCILING_DEPENDENTS, waits)


def _status(merged: Sequence[Condition], step: ConditionType) -> str:
    found = conditions.find(merged, step.value)
    return found.status if found else UNKNOWN


def _observed(condition: Condition, generation: int) -> Condition:
    return Condition(
        type=condition.type,
        status=condition.status,
        reason=condition.reason,
        message=condition.message,
        last_transition_time=condition.last_transition_time,
        observed_generation=generation,
    )
