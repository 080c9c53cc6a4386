"""First step: the finalizer and revision marks on the Workspace, and the ControllerRevision of its spec."""

from __future__ import annotations

from kaito_controller.controllers.workspace.plan import Plan
from kaito_controller.controllers.workspace.revision import marks
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.verdict import StepResult
from kaito_controller.controllers.workspace.writer import Writer
from kaito_controller.kube.core import CONTROLLER_REVISIONS


class RevisionStep:
    """Nothing is made before the finalizer stands: it is what brings NodeClaims down with the Workspace."""

    name = "revision"

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def run(self, plan: Plan, snapshot: Snapshot) -> StepResult:
        """Mark the Workspace, write a new revision, and drop the oldest beyond ten."""
        patch = marks(snapshot.raw, plan.revision)
        if patch:
            await self._writer.patch(snapshot.raw, patch)
        if plan.revision.create is not None:
            await self._writer.create(CONTROLLER_REVISIONS, plan.revision.create)
        if plan.revision.prune is not None:
            await self._writer.delete(CONTROLLER_REVISIONS, plan.revision.prune)
        return StepResult()
