"""Last step of a Workspace that tunes: the Job, once there is a node for it. Owns JobStarted."""

from __future__ import annotations

from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.workspace import readiness
from kaito_controller.controllers.workspace.job_pods import are_running
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.tuning import TuningPlan
from kaito_controller.controllers.workspace.verdict import Notice, StepResult
from kaito_controller.controllers.workspace.writer import Conflict, Done, Writer, refusal_of
from kaito_controller.kube.core import JOBS
from kaito_controller.machinery.errors import ApiError


class TuningStep:
    """Makes the Job of the run that is wanted; one of another run goes first, with its pods.

    A Job is never changed. One that is gone is made anew, since deleting it is how a user asks for another try; but
    not when its run has succeeded: then somebody has tidied up.
    """

    name = "tuning"

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def run(self, plan: TuningPlan, snapshot: Snapshot) -> StepResult:
        """Make or replace the Job."""
        live = snapshot.job
        if live is None and (plan.is_over or not self._may_start(plan, snapshot)):
            return StepResult()
        try:
            done = await self._writer.keep(JOBS, plan.job, live, plan.is_of_this_run)
        except (Conflict, ApiError) as error:
            return StepResult(refusal=refusal_of(error), error=error)
        name = plan.workspace.metadata.name
        if done is Done.CREATED:
            note = f"Created Job {name}, which tunes {plan.preset.name} on {plan.gpus_per_node} GPU(s)"
            return StepResult(notices=(Notice(reason=Reason.WORKLOAD_CREATED, note=note, action="Apply"),))
        if done is Done.RECREATED:
            note = f"Deleted Job {name} to make it anew: tuning or its ConfigMap changed"
            return StepResult(notices=(Notice(reason=Reason.WORKLOAD_UPDATED, note=note, action="Apply"),))
        return StepResult()

    def _may_start(self, plan: TuningPlan, snapshot: Snapshot) -> bool:
        """Whether a node is ready, and no pod of an earlier Job writes to the same volumes any more."""
        return readiness.node(plan, snapshot).holds and not are_running(snapshot)
