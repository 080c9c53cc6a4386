"""The end of a NodeClaim: its Node first (which drains), then its machine, then the finalizer.

A claim that was never launched, or whose launch was lost between the cloud's answer and our status write, has no
provider ID; the cloud is asked all the same, by the claim's UID, before the finalizer goes. So no machine is leaked,
nor the Node of one, which would keep its name from the next machine of that name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from attrs import evolve

from kaito_controller.api import labels as keys
from kaito_controller.api.conditions import ConditionType
from kaito_controller.api.nodeclaim import NODE_CLAIMS, NodeClaim
from kaito_controller.controllers.nodeclaim import conditions
from kaito_controller.controllers.nodeclaim.context import Context, typed
from kaito_controller.controllers.nodeclaim.status import write_status
from kaito_controller.controllers.nodeclaim.termination.instance import end_instance, poll_s, record
from kaito_controller.kube import metadata
from kaito_controller.kube.core import NODES
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.timestamps import format_timestamp, parse_timestamp
from kaito_controller.machinery.reconcile.request import Result

if TYPE_CHECKING:
    from kaito_controller.controllers.nodeclaim.lifecycle.launch import Launch

NODE_SAFETY_S = 30.0
_UNITS = {"s": 1, "m": 60, "h": 3600}


class ClaimTermination:
    """Takes claims down that somebody deleted."""

    def __init__(self, context: Context, launch: Launch) -> None:
        self._context = context
        self._launch = launch

    async def finalize(self, found: Object) -> Result:
        """Go one step down with a claim that has a deletion timestamp."""
        if keys.TERMINATION_FINALIZER not in metadata.finalizers(found):
            self._launch.forget(metadata.name(found), metadata.uid(found))
            return Result.done("our part is done")
        found = await self._with_machine(await self._with_deadline(found))
        claim = typed(found)
        nodes = self._context.nodes_of(claim.status.provider_id)
        if nodes:
            await self._delete_nodes(nodes)
            return Result.requeue(NODE_SAFETY_S, "the Node drains; its end wakes us")
        if not await end_instance(self._context, claim, found):
            found = await record(self._context, found, conditions.holds(ConditionType.INSTANCE_TERMINATING))
            now = self._context.clock.now()
            return Result.requeue(poll_s(typed(found), now, self._context.timing.termination_poll_s), "machine ends")
        await self._finish(found, claim)
        return Result.done("gone")

    async def _delete_nodes(self, nodes: Sequence[Object]) -> None:
        for node in nodes:
            if not metadata.is_deleting(node):
                await self._context.client.delete_exactly(NODES, node)

    async def _finish(self, found: Object, claim: NodeClaim) -> None:
        self._launch.forget(claim.metadata.name, claim.metadata.uid)
        self._launch.capacity_freed()
        await self._context.drop_finalizer(NODE_CLAIMS, found, keys.TERMINATION_FINALIZER)
        self._context.metrics.terminated.inc()
        if claim.metadata.deletion_timestamp:
            took = self._context.clock.now() - parse_timestamp(claim.metadata.deletion_timestamp)
            self._context.metrics.termination_seconds.observe(max(0.0, took.total_seconds()))

    async def _with_machine(self, found: Object) -> Object:
        """Write down a machine whose launch was not: its provider ID leads to the Node that it may have joined as."""
        claim = typed(found)
        if claim.status.provider_id:
            return found
        machines = await self._context.provider.list()
        made = next((one.provider_id for one in machines if one.claim_uid == claim.metadata.uid), "")
        return await write_status(self._context, found, claim.status, evolve(claim.status, provider_id=made))

    async def _with_deadline(self, found: Object) -> Object:
        """Note once until when the Node may drain, where the claim bounds that."""
        deadline = deadline_of(found)
        if deadline is None or keys.TERMINATION_TIMESTAMP in metadata.annotations(found):
            return found
        patch = {"metadata": {"annotations": {keys.TERMINATION_TIMESTAMP: deadline}}}
        written = await self._context.patch(NODE_CLAIMS, metadata.name(found), patch)
        return found if written is None else written


def deadline_of(claim: Object) -> str | None:
    """Deletion plus ``terminationGracePeriod``, RFC 3339; None where the claim does not bound its drain."""
    period = (claim.get("spec") or {}).get("terminationGracePeriod")
    deleted = metadata.deletion_timestamp(claim)
    if not period or deleted is None:
        return None
    return format_timestamp(parse_timestamp(deleted) + timedelta(seconds=seconds_of(period)))


def seconds_of(period: str) -> int:
    """Seconds of a Go duration of whole hours, minutes and seconds, such as ``1h30m``."""
    return sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"(\d+)([smh])", period))
