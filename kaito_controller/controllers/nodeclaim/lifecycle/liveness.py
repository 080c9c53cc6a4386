"""Last step: how long a claim may take. Pure.

Karpenter's timeouts are 5 minutes to launch and 15 to register, both counted from the claim's creation. Here the second
counts from the launch, so that a claim which waited an hour for capacity still has its time to boot; and waiting for
capacity or for a node class (Launched False) has no limit, because deleting the claim would not bring either.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from attrs import frozen

from kaito_controller.api.conditions import ConditionType
from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.nodeclaim.timing import Timing
from kaito_controller.kube.conditions import FALSE, Condition, find, is_true
from kaito_controller.kube.timestamps import parse_timestamp


@frozen(kw_only=True)
class Deadline:
    """When the claim is given up, and the reason that its event will carry."""

    at: datetime
    reason: Reason
    message: str

    def remaining_s(self, now: datetime) -> float:
        """Seconds left; 0 or less when it has passed."""
        return (self.at - now).total_seconds()


def deadline(conditions: Sequence[Condition], timing: Timing) -> Deadline | None:
    """The deadline that the claim is under in its present state; None when it is under none."""
    launched = find(conditions, ConditionType.LAUNCHED.value)
    registered = find(conditions, ConditionType.REGISTERED.value)
    if launched is None or is_true(conditions, ConditionType.REGISTERED.value):
        return None
    if is_true(conditions, ConditionType.LAUNCHED.value):
        why = registered.message if registered else ""
        return _after(launched, timing.registration_timeout_s, Reason.REGISTRATION_TIMEOUT, "joined the cluster", why)
    if launched.status == FALSE:
        return None
    return _after(launched, timing.launch_timeout_s, Reason.LAUNCH_TIMEOUT, "been made", launched.message)


def _after(since: Condition, seconds: float, reason: Reason, what: str, why: str) -> Deadline:
    return Deadline(
        at=parse_timestamp(since.last_transition_time) + timedelta(seconds=seconds),
        reason=reason,
        message=f"the machine has not {what} within {seconds:.0f} s; last known: {why}",
    )
