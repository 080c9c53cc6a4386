"""The end of a machine at its cloud: started once, then asked for at a slowing pace until it is gone."""

from __future__ import annotations

from datetime import datetime

from attrs import evolve

from kaito_controller.api.conditions import ConditionType
from kaito_controller.api.nodeclaim import NodeClaim
from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.nodeclaim import conditions
from kaito_controller.controllers.nodeclaim.context import Context, typed
from kaito_controller.controllers.nodeclaim.status import write_status
from kaito_controller.kube.conditions import Condition, find
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.timestamps import parse_timestamp
from kaito_controller.providers.errors import InstanceNotFound

FIRST_POLL_S = 0.25


async def end_instance(context: Context, claim: NodeClaim, regarding: Object) -> bool:
    """Ask the cloud to end the claim's machine; True once it is gone. A refusal is told as an event and raised."""
    try:
        await context.provider.delete(claim)
    except InstanceNotFound:
        return True
    except Exception as error:
        note = f"the machine cannot be ended yet, it is tried again: {conditions.shortened(str(error))}"
        context.events.event(regarding, "Warning", Reason.RECONCILE_FAILED.value, note, action="Terminating")
        raise
    return False


async def record(context: Context, found: Object, *news: Condition) -> Object:
    """Write conditions of the way down to a claim, and tell those that turned True as events."""
    claim = typed(found)
    generation = claim.metadata.generation
    merged = conditions.updated(conditions.of(claim), news, generation=generation, now=context.clock.now())
    status = evolve(claim.status, conditions=merged)
    for condition in news:
        before = find(claim.status.conditions, condition.type)
        if condition.status == "True" and (before is None or before.status != "True"):
            context.events.event(found, "Normal", condition.type, _STORIES[condition.type], action="Terminating")
    return await write_status(context, found, claim.status, status)


def poll_s(claim: NodeClaim, now: datetime, limit_s: float) -> float:
    """Pause before the cloud is asked again: a quarter of the time that ending has taken so far, within bounds."""
    ending = find(claim.status.conditions, ConditionType.INSTANCE_TERMINATING.value)
    if ending is None or ending.status != "True":
        return FIRST_POLL_S
    elapsed = (now - parse_timestamp(ending.last_transition_time)).total_seconds()
    return min(limit_s, max(FIRST_POLL_S, elapsed / 4))


_STORIES = {
    ConditionType.DRAINED.value: "no pod that must leave is left on the Node",
    ConditionType.VOLUMES_DETACHED.value: "no volume of those pods is attached any more",
    ConditionType.INSTANCE_TERMINATING.value: "the cloud is ending the machine",
}
