"""One NodeClaim, from asked for to ready: launch, registration, initialization, liveness; then the status, once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve

from kaito_controller.api import labels as keys
from kaito_controller.api.conditions import ConditionType
from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.nodeclaim import conditions, managed
from kaito_controller.controllers.nodeclaim.context import Context, typed
from kaito_controller.controllers.nodeclaim.lifecycle.initialization import initialize, is_initialized
from kaito_controller.controllers.nodeclaim.lifecycle.launch import Launch
from kaito_controller.controllers.nodeclaim.lifecycle.liveness import deadline
from kaito_controller.controllers.nodeclaim.lifecycle.progress import Progress, metadata_patch, with_instance
from kaito_controller.controllers.nodeclaim.lifecycle.registration import is_registered, register
from kaito_controller.controllers.nodeclaim.lifecycle.story import tell
from kaito_controller.controllers.nodeclaim.status import write_status
from kaito_controller.controllers.nodeclaim.termination.claim import ClaimTermination
from kaito_controller.kube import metadata
from kaito_controller.kube.conditions import Condition
from kaito_controller.kube.core import NODES
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.client.finalizers import with_finalizers
from kaito_controller.machinery.errors import is_conflict
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.reconcile.request import Request, Result

_log = logger(__name__)
CONFLICT_RETRY_S = 0.1
STALE_RETRY_S = 1.0
# Its correction wakes us; this is for a Node whose provider ID could not be read, so that it woke nobody.
UNFIT_RETRY_S = 60.0


class Lifecycle:
    """The reconciler of NodeClaims."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._launch = Launch(context.provider, context.clock, context.timing)
        self._termination = ClaimTermination(context, self._launch)

    @property
    def waiting_for_capacity(self) -> frozenset[str]:
        """Names of the claims that wait for capacity: they are looked at again when another claim goes."""
        return self._launch.waiting

    async def reconcile(self, request: Request) -> Result:
        """Bring one claim a step further, or down when it is being deleted."""
        found = self._context.claims.store.get(request.key)
        if found is None or not managed.is_managed(found, self._context.provider.node_classes):
            return Result.done("not a claim of ours")
        fault = self._context.fault(claims=[found], nodes=self._context.nodes_of(managed.claimed_provider_id(found)))
        if fault:
            return Result.requeue(UNFIT_RETRY_S, fault)
        if self._is_stale(found):
            return Result.requeue(STALE_RETRY_S, "the cache does not show our last write yet")
        try:
            if metadata.is_deleting(found):
                return await self._termination.finalize(found)
            return await self._up(found)
        except Exception as error:
            if is_conflict(error):
                return Result.requeue(CONFLICT_RETRY_S, f"somebody else wrote meanwhile: {error}")
            raise

    def _is_stale(self, found: Object) -> bool:
        """Whether claim or Node were written by us since they were read. The event that shows it wakes us earlier."""
        nodes = self._context.nodes_of(managed.claimed_provider_id(found))
        is_stale = self._context.cache.is_stale
        return is_stale(NODE_CLAIMS, metadata.name(found)) or any(is_stale(NODES, metadata.name(one)) for one in nodes)

    async def _up(self, found: Object) -> Result:
        guarded = await self._with_finalizer(found)
        if guarded is None:
            return Result.done("gone")
        progress = Progress(guarded, typed(guarded))
        await self._launch_step(progress)
        await self._registration_step(progress)
        await self._initialization_step(progress)
        await self._write(progress)
        return await self._liveness_step(progress)

    async def _with_finalizer(self, found: Object) -> Object | None:
        """Make sure, before anything exists that would need it, that the claim cannot go without us."""
        head = with_finalizers(found, keys.TERMINATION_FINALIZER)
        return await self._context.patch(NODE_CLAIMS, metadata.name(found), {"metadata": head}) if head else found

    async def _launch_step(self, progress: Progress) -> None:
        if progress.is_true(ConditionType.LAUNCHED):
            return
        launched = await self._launch.launch(progress.claim)
        if launched.retry_after_s is not None:
            progress.retry(launched.retry_after_s, "launch")
        if launched.error is not None and launched.condition is not None:
            self._context.metrics.refused.labels(launched.condition.reason).inc()
            _log.warning("launch refused", reason=launched.condition.reason, error=str(launched.error))
        if launched.instance is not None:
            progress.claim = with_instance(progress.claim, launched.instance)
            self._context.metrics.launched.inc()
        self._note(progress, launched.condition)

    async def _registration_step(self, progress: Progress) -> None:
        if not progress.is_true(ConditionType.LAUNCHED):
            return
        claim = progress.claim
        nodes = self._context.nodes_of(claim.status.provider_id)
        if progress.is_true(ConditionType.REGISTERED) and all(map(is_registered, nodes)):
            return
        registration = register(claim, nodes)
        node = registration.node
        if node is not None:
            progress.node = await self._patch_node(node, registration.patch)
            if progress.node is None:
                return
            if registration.taint_was_missing:
                note = f"the Node joined without the taint {keys.TAINT_UNREGISTERED}:NoExecute"
                self._warn(node, Reason.UNREGISTERED_TAINT_MISSING, note, "Registering")
            progress.claim = evolve(claim, status=evolve(claim.status, node_name=metadata.name(node)))
        if not progress.is_true(ConditionType.REGISTERED):
            self._note(progress, registration.condition)

    async def _initialization_step(self, progress: Progress) -> None:
        """Once True the condition stays, whatever becomes of the Node; one that joined anew is labelled anew."""
        if not progress.is_true(ConditionType.REGISTERED):
            return
        node = progress.node or self._context.nodes.store.get(progress.claim.status.node_name)
        if progress.is_true(ConditionType.INITIALIZED) and (node is None or is_initialized(node)):
            return
        initialization = initialize(progress.claim, node)
        if node is not None:
            await self._patch_node(node, initialization.patch)
        if not progress.is_true(ConditionType.INITIALIZED):
            self._note(progress, initialization.condition)

    async def _write(self, progress: Progress) -> None:
        """Labels and annotations that the cloud gave first, then the status: a claim with status has its labels."""
        patch = metadata_patch(progress.before, progress.claim)
        if patch:
            written = await self._context.patch(NODE_CLAIMS, progress.claim.metadata.name, {"metadata": patch})
            progress.found = progress.found if written is None else written
        progress.conditions = conditions.updated(
            progress.conditions, (), generation=progress.claim.metadata.generation, now=self._context.clock.now()
        )
        status = evolve(progress.claim.status, conditions=progress.conditions)
        await write_status(self._context, progress.found, progress.before.status, status)
        tell(self._context.events, progress.found, progress.before, progress.conditions, progress.claim)

    async def _liveness_step(self, progress: Progress) -> Result:
        limit = deadline(progress.conditions, self._context.timing)
        if limit is not None:
            remaining = limit.remaining_s(self._context.clock.now())
            if remaining <= 0:
                self._warn(progress.found, limit.reason, limit.message, "Deleting")
                self._context.metrics.disrupted.labels(limit.reason.value).inc()
                await self._context.client.delete_exactly(NODE_CLAIMS, progress.found)
                return Result.done(limit.message)
            progress.retry(remaining, f"until {limit.reason.value}")
        if progress.retry_after_s is None:
            return Result.done()
        return Result.requeue(progress.retry_after_s, progress.why)

    async def _patch_node(self, node: Object, patch: Mapping[str, Any]) -> Object | None:
        """Write what the Node needs, if anything, and return it as it is then; None when it is gone."""
        return await self._context.patch(NODES, metadata.name(node), patch) if patch else node

    def _note(self, progress: Progress, condition: Condition | None) -> None:
        if condition is not None:
            progress.conditions = conditions.updated(
                progress.conditions,
                (condition,),
                generation=progress.claim.metadata.generation,
                now=self._context.clock.now(),
            )

    def _warn(self, regarding: Object, reason: Reason, note: str, action: str) -> None:
        self._context.events.event(regarding, "Warning", reason.value, note, action=action)
