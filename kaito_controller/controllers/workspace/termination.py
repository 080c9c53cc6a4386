"""The way down: Services and workload, pods, their list of adapters, NodeClaims, then the finalizer.

Each stage waits for the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.verdict import Notice, StepResult
from kaito_controller.controllers.workspace.writer import Writer
from kaito_controller.kube import metadata
from kaito_controller.kube.core import CONFIG_MAPS, JOBS, SERVICES, STATEFUL_SETS
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.ownership import is_controlled_by
from kaito_controller.kube.timestamps import parse_timestamp
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.client.finalizers import without_finalizers
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiError, is_not_found

RECHECK_S: Final = 5.0
_WORKLOADS: Final = frozenset({STATEFUL_SETS.kind, JOBS.kind})
LOST_POD_S: Final = 60.0
"""A pod this long past its deadline is on a node that no longer answers; waiting would keep that node for ever."""


class Termination:
    """Takes down what a Workspace has. Works from the object's name alone, so a malformed one can be deleted too."""

    def __init__(self, writer: Writer, client: Client, clock: Clock) -> None:
        self._writer = writer
        self._client = client
        self._clock = clock

    async def run(self, snapshot: Snapshot) -> StepResult:
        """Do what can be done now; a watch event brings us back for the rest."""
        if keys.WORKSPACE_FINALIZER not in metadata.finalizers(snapshot.raw):
            return StepResult()
        await self._remove_services(snapshot)
        for kind, workload in ((STATEFUL_SETS, snapshot.stateful_set), (JOBS, snapshot.job)):
            if workload is not None and is_controlled_by(workload, snapshot.raw):
                if not metadata.is_deleting(workload):
                    await self._writer.delete(kind, workload)
                return StepResult(requeue_after_s=RECHECK_S, why=f"the {kind.kind} is going")
        if self._running(_own_pods(snapshot)):
            return StepResult(requeue_after_s=RECHECK_S, why="pods are going")
        await self._remove_list(snapshot)
        present = await self._node_claims(snapshot.raw)
        notices = []
        for claim in present:
            if not metadata.is_deleting(claim):
                await self._writer.delete(NODE_CLAIMS, claim)
                note = f"Deleted NodeClaim {metadata.name(claim)}"
                notices.append(Notice(reason=Reason.NODE_CLAIM_DELETED, note=note, action="Delete"))
        if present:
            return StepResult(notices=tuple(notices), requeue_after_s=RECHECK_S, why="NodeClaims are going")
        await self._release(snapshot.raw)
        return StepResult()

    async def _remove_services(self, snapshot: Snapshot) -> None:
        """The garbage collector would, but it learns of a new kind of owner up to half a minute after its CRD came."""
        for service in snapshot.services.values():
            if is_controlled_by(service, snapshot.raw) and not metadata.is_deleting(service):
                await self._writer.delete(SERVICES, service)

    async def _remove_list(self, snapshot: Snapshot) -> None:
        """The list of adapters, which an agent may read until its pod has ended; see `_remove_services`."""
        live = snapshot.wanted_adapters
        if live is not None and is_controlled_by(live, snapshot.raw) and not metadata.is_deleting(live):
            await self._writer.delete(CONFIG_MAPS, live)

    def _running(self, pods: Sequence[Object]) -> bool:
        now = self._clock.now()
        return any(not _is_lost(pod, now) for pod in pods)

    async def _node_claims(self, raw: Object) -> list[Object]:
        """Ask the server, not the cache: a claim made a moment ago must not outlive the finalizer."""
        owner = f"{keys.WORKSPACE_NAME}={metadata.name(raw)},{keys.WORKSPACE_NAMESPACE}={metadata.namespace(raw)}"
        try:
            return await self._client.list(NODE_CLAIMS, label_selector=owner)
        except ApiError as error:
            if is_not_found(error):  # the CRD was never installed, so no claim was ever made
                return []
            raise

    async def _release(self, raw: Object) -> None:
        try:
            await self._writer.patch(raw, {"metadata": without_finalizers(raw, keys.WORKSPACE_FINALIZER)})
        except ApiError as error:
            if not is_not_found(error):
                raise


def _own_pods(snapshot: Snapshot) -> list[Object]:
    """The pods of the workload that was deleted: others may carry its label, and nobody deletes those."""
    strangers = {metadata.uid(one) for one in (snapshot.stateful_set, snapshot.job) if one is not None}
    found = []
    for pod in snapshot.pods:
        owner = metadata.controller_of(pod) or {}
        named = owner.get("kind") in _WORKLOADS and owner.get("name") == metadata.name(snapshot.raw)
        if named and owner.get("uid") not in strangers:
            found.append(pod)
    return found


def _is_lost(pod: Object, now: datetime) -> bool:
    deadline = metadata.deletion_timestamp(pod)
    return deadline is not None and now - parse_timestamp(deadline) > timedelta(seconds=LOST_POD_S)
