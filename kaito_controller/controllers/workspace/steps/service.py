"""Third step: the Service for users and the one for the pods."""

from __future__ import annotations

from collections.abc import Sequence

from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.workspace.serving import ServingPlan
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.verdict import Notice, StepResult
from kaito_controller.controllers.workspace.writer import Conflict, Done, Writer, refusal_of
from kaito_controller.kube import metadata
from kaito_controller.kube.core import SERVICES
from kaito_controller.machinery.errors import ApiError


class ServiceStep:
    """Services stand from the start: a name that resolves early costs nothing, and they follow annotations later."""

    name = "service"

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def run(self, plan: ServingPlan, snapshot: Snapshot) -> StepResult:
        """Apply both where they differ."""
        created: list[str] = []
        for desired in plan.services:
            name = metadata.name(desired)
            try:
                done = await self._writer.ensure(SERVICES, desired, snapshot.services.get(name))
            except (Conflict, ApiError) as error:
                return StepResult(notices=_told(created), refusal=refusal_of(error), error=error)
            if done is Done.CREATED:
                created.append(name)
        return StepResult(notices=_told(created))


def _told(created: Sequence[str]) -> tuple[Notice, ...]:
    if not created:
        return ()
    note = f"Created Service{'s' if len(created) > 1 else ''} {' and '.join(created)}"
    return (Notice(reason=Reason.SERVICE_CREATED, note=note, action="Create"),)
