"""Last step: the StatefulSet, once there are nodes for it. Owns InferenceReady."""

from __future__ import annotations

from typing import Final

from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.workspace import readiness
from kaito_controller.controllers.workspace.serving import ServingPlan
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.verdict import Notice, StepResult
from kaito_controller.controllers.workspace.writer import Conflict, Done, Writer, refusal_of
from kaito_controller.kube.core import STATEFUL_SETS
from kaito_controller.machinery.errors import ApiError

_TOLD: Final = {
    Done.CREATED: (Reason.WORKLOAD_CREATED, "Created StatefulSet {name} with {count} replica(s) of {preset}"),
    Done.UPDATED: (Reason.WORKLOAD_UPDATED, "Updated StatefulSet {name}; changed pods restart"),
    Done.RECREATED: (Reason.WORKLOAD_UPDATED, "Deleted StatefulSet {name} to make it anew: an immutable field changed"),
}


class InferenceStep:
    """Makes the workload when its nodes are ready, and keeps an existing one as planned whatever its nodes do."""

    name = "inference"

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def run(self, plan: ServingPlan, snapshot: Snapshot) -> StepResult:
        """Apply the StatefulSet where it differs."""
        if snapshot.stateful_set is None and not readiness.node(plan, snapshot).holds:
            return StepResult()
        try:
            done = await self._writer.ensure(STATEFUL_SETS, plan.stateful_set, snapshot.stateful_set)
        except (Conflict, ApiError) as error:
            return StepResult(refusal=refusal_of(error), error=error)
        if done not in _TOLD:
            return StepResult()
        reason, text = _TOLD[done]
        note = text.format(name=plan.workspace.metadata.name, count=plan.node_count, preset=plan.preset.name)
        return StepResult(notices=(Notice(reason=reason, note=note, action="Apply"),))
