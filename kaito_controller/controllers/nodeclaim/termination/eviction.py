"""Asking pods to leave.

Through the Eviction API, so that disruption budgets are heard; by UID, so that a namesake made meanwhile stays.
"""

from __future__ import annotations

from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.nodeclaim.context import Context
from kaito_controller.controllers.nodeclaim.termination.drain import Drain
from kaito_controller.kube import metadata
from kaito_controller.kube.core import PODS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.errors import ApiError, is_conflict, is_not_found

TOO_MANY_REQUESTS = 429
INTERNAL_ERROR = 500


async def carry_out(context: Context, node: Object, drain: Drain) -> None:
    """Evict and delete what the plan names. A budget that says no is told as an event; the next look asks again."""
    for pod in drain.evict:
        await _evict(context, node, pod)
    for pod in drain.delete:
        await context.client.delete_exactly(PODS, pod)


async def _evict(context: Context, node: Object, pod: Object) -> None:
    try:
        await context.client.evict(metadata.name(pod), metadata.namespace(pod), uid=metadata.uid(pod))
    except ApiError as error:
        if is_not_found(error) or is_conflict(error):
            return
        if error.status not in {TOO_MANY_REQUESTS, INTERNAL_ERROR}:
            raise
        # 500 is the API server's answer to a pod that several budgets match.
        note = f"pod {metadata.key(pod)} cannot be evicted now: {error.message}"
        context.events.event(node, "Warning", Reason.FAILED_DRAINING.value, note, action="Draining")
