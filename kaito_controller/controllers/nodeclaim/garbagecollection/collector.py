"""Every two minutes: machines without claim are ended, claims without machine are deleted.

Both halves ask the cloud first and the API server afterwards, the server itself and not a cache: a claim made in
between can then only save a machine, never lose one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.nodeclaim import managed, orphan
from kaito_controller.controllers.nodeclaim.context import Context
from kaito_controller.controllers.nodeclaim.garbagecollection.verdict import abandoned, orphaned
from kaito_controller.kube import metadata
from kaito_controller.kube.core import NODES
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.log import logger
from kaito_controller.providers.errors import InstanceNotFound
from kaito_controller.providers.protocol import Instance

_log = logger(__name__)


class GarbageCollector:
    """Compares what the cloud has with what the cluster claims, at intervals."""

    name = "nodeclaim.garbagecollection"
    needs_leader = True

    def __init__(self, context: Context) -> None:
        self._context = context
        self._node_class = context.provider.node_classes[0]

    async def run(self, stop: asyncio.Event) -> None:
        """Collect now and at every interval until told to stop. A failed round is logged; the next one is tried."""
        while not stop.is_set():
            try:
                await self.collect()
            except Exception:  # noqa: BLE001 - whatever failed, the next round may not
                _log.exception("garbage collection failed, it is tried again")
            await self._pause(stop)

    async def collect(self) -> None:
        """One round."""
        instances = await self._context.provider.list()
        claims = await self._context.client.list(NODE_CLAIMS)
        # What cannot be read may stand for any machine of its name: nothing of it is touched.
        unread = {metadata.name(claim) for claim in claims if self._context.fault(claims=[claim])}
        await self._end_orphans([each for each in instances if each.claim_name not in unread], claims)
        await self._delete_abandoned(instances, [claim for claim in claims if metadata.name(claim) not in unread])

    async def _end_orphans(self, instances: Sequence[Instance], claims: Sequence[Object]) -> None:
        now, age = self._context.clock.now(), self._context.timing.orphan_age_s
        for instance in orphaned(instances, claims, now=now, age_s=age):
            _log.info("ending a machine without claim", provider_id=instance.provider_id, claim=instance.claim_name)
            with suppress(InstanceNotFound):
                await self._context.provider.delete(orphan.of_instance(instance, self._node_class))
            for node in self._context.nodes_of(instance.provider_id):
                await self._context.client.delete_exactly(NODES, node)

    async def _delete_abandoned(self, instances: Sequence[Instance], claims: Sequence[Object]) -> None:
        ours = [
            claim
            for claim in claims
            if managed.is_managed(claim, self._context.provider.node_classes)
            and not self._context.fault(nodes=self._context.nodes_of(managed.claimed_provider_id(claim)))
        ]
        for claim in abandoned(ours, instances, self._context.nodes_of):
            if not await self._is_gone(managed.claimed_provider_id(claim)):
                continue
            note = f"the machine {managed.claimed_provider_id(claim)} is gone at the cloud and its Node does not report"
            self._context.events.event(claim, "Warning", Reason.GARBAGE_COLLECTED.value, note, action="Deleting")
            self._context.metrics.disrupted.labels(Reason.GARBAGE_COLLECTED.value).inc()
            _log.info("deleting a claim without machine", claim=metadata.name(claim))
            await self._context.client.delete_exactly(NODE_CLAIMS, claim)

    async def _is_gone(self, provider_id: str) -> bool:
        """Ask about the one machine: the list was made before the claims were read."""
        try:
            await self._context.provider.get(provider_id)
        except InstanceNotFound:
            return True
        return False

    async def _pause(self, stop: asyncio.Event) -> None:
        """Wait for the interval to pass, or for the stop, whichever is first."""
        waits = [
            asyncio.ensure_future(self._context.clock.sleep(self._context.timing.collection_interval_s)),
            asyncio.ensure_future(stop.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in waits:
                waiting.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
