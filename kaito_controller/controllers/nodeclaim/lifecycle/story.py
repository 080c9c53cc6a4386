"""The events of a claim's way up, from the difference between what its conditions said and what they say."""

from __future__ import annotations

from collections.abc import Sequence

from kaito_controller.api.conditions import ConditionType
from kaito_controller.api.nodeclaim import NodeClaim
from kaito_controller.controllers.nodeclaim.conditions import STEPS
from kaito_controller.kube.conditions import FALSE, TRUE, Condition, find
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.events.recorder import EventRecorder


def tell(events: EventRecorder, found: Object, before: NodeClaim, after: Sequence[Condition], claim: NodeClaim) -> None:
    """Record an event for every step that was completed, and for every refusal that is new."""
    for step in (*STEPS, ConditionType.READY):
        old = find(before.status.conditions, step.value)
        new = find(after, step.value)
        if new is None or (old is not None and (old.status, old.reason) == (new.status, new.reason)):
            continue
        if new.status == TRUE:
            events.event(found, "Normal", step.value, _success(step, claim), action=step.value)
        elif _is_refusal(step, new):
            events.event(found, "Warning", new.reason, new.message, action=f"{step.value.removesuffix('ed')}ing")


def _is_refusal(step: ConditionType, new: Condition) -> bool:
    """A step that failed; and a launch that did not succeed, which is Unknown while it is tried again."""
    if step is ConditionType.READY:
        return False
    return new.status == FALSE or step is ConditionType.LAUNCHED


def _success(step: ConditionType, claim: NodeClaim) -> str:
    status = claim.status
    match step:
        case ConditionType.LAUNCHED:
            return f"the machine {status.provider_id} was made"
        case ConditionType.REGISTERED:
            return f"the machine joined as Node {status.node_name}"
        case ConditionType.INITIALIZED:
            return f"Node {status.node_name} is ready and shows every resource asked for"
        case _:
            return f"Node {status.node_name} can be used"
