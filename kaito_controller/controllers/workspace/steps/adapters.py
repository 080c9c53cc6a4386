"""Before the workload: the list of wanted adapters. Owns AdaptersReady, with the agent in the pod.

A kubelet looks after a mounted ConfigMap once a minute or so; a pod that changes is looked after at once. So each pod
is told the digest of the list.
"""

from __future__ import annotations

from typing import Final

from kaito_controller.controllers.workspace.serving import ServingPlan
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.verdict import StepResult
from kaito_controller.controllers.workspace.writer import Conflict, Writer, refusal_of
from kaito_controller.kube import metadata
from kaito_controller.kube.core import CONFIG_MAPS, PODS
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.ownership import is_controlled_by
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.errors import ApiError, is_conflict, is_not_found
from kaito_controller.workloads.adapters import wanted_digest, wanted_text

LIST_ANNOTATION: Final = "workspace.kaito.io/adapters"


class AdaptersStep:
    """Keeps the list as the spec has it, and makes kubelets bring it into pods.

    What goes wrong with it keeps no model from being served.
    """

    name = "adapters"

    def __init__(self, writer: Writer, client: Client) -> None:
        self._writer = writer
        self._client = client

    async def run(self, plan: ServingPlan, snapshot: Snapshot) -> StepResult:
        """Apply the ConfigMap where it differs, then touch pods that have not heard of it."""
        wanted = plan.wanted_adapters
        try:
            if wanted is None:
                live = snapshot.wanted_adapters
                if live is not None and is_controlled_by(live, snapshot.raw):
                    await self._writer.delete(CONFIG_MAPS, live)
                return StepResult()
            await self._writer.ensure(CONFIG_MAPS, wanted, snapshot.wanted_adapters)
            digest = wanted_digest(wanted_text(plan.workspace))
            for pod in snapshot.pods_of(snapshot.stateful_set):
                await self._touch(pod, digest)
        except (Conflict, ApiError) as error:
            return StepResult(refusal=refusal_of(error), error=error, goes_on=True)
        return StepResult()

    async def _touch(self, pod: Object, digest: str) -> None:
        if metadata.annotations(pod).get(LIST_ANNOTATION) == digest or metadata.is_deleting(pod):
            return
        patch = {"metadata": {"annotations": {LIST_ANNOTATION: digest}, "uid": metadata.uid(pod)}}
        try:
            await self._client.merge_patch(PODS, metadata.name(pod), metadata.namespace(pod), patch)
        except ApiError as error:
            # It is gone, or another has its name by now, which a wake tells of.
            if not is_not_found(error) and not is_conflict(error):
                raise
