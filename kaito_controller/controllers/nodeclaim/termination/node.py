"""The end of a Node of ours, whoever asked for it: taint, drain, volumes, machine, finalizer; and its claim with it.

``kubectl delete node`` therefore takes everything down in order, and so does deleting the claim, which deletes the
Node. Pods are listed from the API server while a Node drains, once a second, instead of being cached: the cache would
hold every pod of the cluster all the time for the sake of a rare minute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from attrs import define

from kaito_controller.api import labels as keys
from kaito_controller.api.conditions import ConditionType
from kaito_controller.api.nodeclaim import NODE_CLAIMS, NodeClaim
from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.nodeclaim import conditions, managed, orphan, taints
from kaito_controller.controllers.nodeclaim.context import Context, typed
from kaito_controller.controllers.nodeclaim.termination.drain import DISRUPTED_TAINT, Drain, describe, plan_drain
from kaito_controller.controllers.nodeclaim.termination.eviction import carry_out
from kaito_controller.controllers.nodeclaim.termination.instance import end_instance, poll_s, record
from kaito_controller.controllers.nodeclaim.termination.volumes import attached
from kaito_controller.kube import metadata
from kaito_controller.kube.conditions import Condition
from kaito_controller.kube.core import NODES, PODS
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.timestamps import parse_timestamp
from kaito_controller.machinery.errors import is_conflict
from kaito_controller.machinery.reconcile.request import Request, Result
from kaito_controller.providers.errors import InstanceNotFound

CONFLICT_RETRY_S = 0.1
UNFIT_RETRY_S = 60.0
KARPENTER = "karpenter"


@define
class Ending:
    """A Node on its way down: the Node, its claim as found (None when it is gone) and until when it may drain."""

    node: Object
    found: Object | None
    claim: NodeClaim
    deadline: datetime | None


class NodeTermination:
    """The reconciler of Nodes that are being deleted and carry our finalizer."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def reconcile(self, request: Request) -> Result:
        """Go one step down with one Node."""
        node = self._context.nodes.store.get(request.key)
        if node is None or not self.is_ours(node):
            return Result.done("not ours, or not being deleted")
        if self._context.cache.is_stale(NODES, request.key):
            return Result.requeue(1.0, "the cache does not show our last write yet")
        fault = self._context.fault(claims=self._context.claims_of(managed.provider_id(node)), nodes=[node])
        if fault:
            return Result.requeue(UNFIT_RETRY_S, fault)
        try:
            return await self._down(node)
        except Exception as error:
            if is_conflict(error):
                return Result.requeue(CONFLICT_RETRY_S, f"somebody else wrote meanwhile: {error}")
            raise

    def is_ours(self, node: Object) -> bool:
        """Whether the Node is being deleted, held by the finalizer, and of one of the provider's node classes.

        The finalizer alone does not tell: every Karpenter in the cluster uses the same.
        """
        if not metadata.is_deleting(node) or keys.TERMINATION_FINALIZER not in metadata.finalizers(node):
            return False
        if self._context.claims_of(managed.provider_id(node)):
            return True
        return managed.carries_class(node, self._context.provider.node_classes) and not self._has_foreign_claim(node)

    async def _down(self, node: Object) -> Result:
        ending = self._ending(node)
        if ending.found is not None and not metadata.is_deleting(ending.found):
            await self._context.client.delete_exactly(NODE_CLAIMS, ending.found)
        if await self._is_lost(node):
            return await self._finish(ending, "the machine is gone already")
        marked = await self._mark(node)
        if marked is None:
            return Result.done("gone")
        ending.node = marked
        return await self._drain(ending) or await self._detach(ending) or await self._end(ending)

    def _ending(self, node: Object) -> Ending:
        claims = self._context.claims_of(managed.provider_id(node))
        if not claims:
            claim = orphan.of_node(node, self._context.provider.node_classes[0])
            return Ending(node=node, found=None, claim=claim, deadline=None)
        stamp = metadata.annotations(claims[0]).get(keys.TERMINATION_TIMESTAMP)
        deadline = parse_timestamp(stamp) if stamp else None
        return Ending(node=node, found=claims[0], claim=typed(claims[0]), deadline=deadline)

    async def _is_lost(self, node: Object) -> bool:
        """Whether there is nothing to drain: no kubelet reports, and the cloud does not know the machine any more."""
        if managed.is_ready(node):
            return False
        try:
            await self._context.provider.get(managed.provider_id(node))
        except InstanceNotFound:
            return True
        return False

    async def _mark(self, node: Object) -> Object | None:
        """Keep new pods and outside traffic away."""
        patch = departure(node)
        return await self._context.patch(NODES, metadata.name(node), patch) if patch else node

    async def _drain(self, ending: Ending) -> Result | None:
        pods = await self._pods(ending.node)
        drain = self._plan(pods, ending)
        if drain.is_done:
            await self._record(ending, conditions.holds(ConditionType.DRAINED))
            return None
        await carry_out(self._context, ending.node, drain)
        message = describe(drain.waiting)
        if drain.blocked:
            message += f"; {len(drain.blocked)} of them ask not to be disrupted ({keys.DO_NOT_DISRUPT})"
        await self._record(ending, conditions.unknown(ConditionType.DRAINED, Reason.DRAINING, message))
        return Result.requeue(self._context.timing.drain_poll_s, message)

    async def _detach(self, ending: Ending) -> Result | None:
        node = metadata.name(ending.node)
        staying = [pod for pod in await self._pods(ending.node) if metadata.deletion_timestamp(pod) is None]
        volumes = await attached(self._context.client, node, staying)
        if not volumes:
            await self._record(ending, conditions.holds(ConditionType.VOLUMES_DETACHED))
            return None
        message = f"still attached: {', '.join(volumes)}"
        if ending.deadline is not None and self._context.clock.now() >= ending.deadline:
            reason = Reason.TERMINATION_GRACE_PERIOD_ELAPSED
            await self._record(ending, conditions.fails(ConditionType.VOLUMES_DETACHED, reason, message))
            return None
        waiting = conditions.unknown(ConditionType.VOLUMES_DETACHED, Reason.AWAITING_VOLUME_DETACHMENT, message)
        await self._record(ending, waiting)
        return Result.requeue(self._context.timing.drain_poll_s, message)

    async def _end(self, ending: Ending) -> Result:
        if await end_instance(self._context, ending.claim, ending.node):
            return await self._finish(ending, "the machine is gone")
        await self._record(ending, conditions.holds(ConditionType.INSTANCE_TERMINATING))
        limit = self._context.timing.termination_poll_s
        return Result.requeue(poll_s(ending.claim, self._context.clock.now(), limit), "the machine ends")

    async def _finish(self, ending: Ending, why: str) -> Result:
        await self._context.drop_finalizer(NODES, ending.node, keys.TERMINATION_FINALIZER)
        return Result.done(why)

    async def _pods(self, node: Object) -> Sequence[Object]:
        selector = f"spec.nodeName={metadata.name(node)}"
        return await self._context.client.list(PODS, field_selector=selector)

    def _plan(self, pods: Sequence[Object], ending: Ending) -> Drain:
        now, stuck = self._context.clock.now(), self._context.timing.stuck_pod_s
        return plan_drain(pods, now=now, deadline=ending.deadline, stuck_s=stuck)

    async def _record(self, ending: Ending, condition: Condition) -> None:
        if ending.found is not None:
            ending.found = await record(self._context, ending.found, condition)
            ending.claim = typed(ending.found)

    def _has_foreign_claim(self, node: Object) -> bool:
        owner = orphan.owner_of(node)
        claim = self._context.claims.store.get(owner["name"]) if owner else None
        return claim is not None and not managed.is_managed(claim, self._context.provider.node_classes)


def departure(node: Object) -> Mapping[str, Any]:
    """The merge patch that marks a Node as leaving, empty when it is marked already."""
    patch: dict[str, Any] = {}
    present = (node.get("spec") or {}).get("taints") or ()
    if not taints.has(present, DISRUPTED_TAINT):
        patch["spec"] = {"taints": taints.merged(present, [DISRUPTED_TAINT])}
    head: dict[str, Any] = {}
    if metadata.labels(node).get(keys.EXCLUDE_FROM_LOAD_BALANCERS) != KARPENTER:
        head["labels"] = {keys.EXCLUDE_FROM_LOAD_BALANCERS: KARPENTER}
    if patch or head:
        patch["metadata"] = head | {"resourceVersion": metadata.resource_version(node)}
    return patch
