"""What every part of the node provisioner works with: the cluster, its caches, the cloud, time and events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import Factory, field, frozen

from kaito_controller.api.nodeclaim import NODE_CLAIMS, NodeClaim
from kaito_controller.controllers.nodeclaim import managed
from kaito_controller.controllers.nodeclaim.metrics import NodeClaimMetrics
from kaito_controller.controllers.nodeclaim.timing import Timing
from kaito_controller.kube import metadata
from kaito_controller.kube.core import NODES
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource
from kaito_controller.kube.serde import structure
from kaito_controller.kube.shapes import NodeShape
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.cache.cached_client import CachedClient
from kaito_controller.machinery.cache.informer import Informer
from kaito_controller.machinery.cache.typed import Typed
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.client.finalizers import without_finalizers
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import is_not_found
from kaito_controller.machinery.events.recorder import EventRecorder
from kaito_controller.providers.protocol import CloudProvider

BY_PROVIDER_ID = "providerID"
READER = "the node provisioner"


@frozen(kw_only=True)
class Context:
    """Reads come from the caches, writes go to the server and are remembered, so that no older cache is believed."""

    client: Client
    cache: Cache
    clock: Clock
    events: EventRecorder
    provider: CloudProvider
    metrics: NodeClaimMetrics
    timing: Timing
    _noted: CachedClient = field(init=False, default=Factory(lambda self: CachedClient(self.cache), takes_self=True))
    _fit_claims: Typed[NodeClaim] = field(
        init=False, default=Factory(lambda self: Typed(NodeClaim, READER, self.cache.unfit), takes_self=True)
    )
    _fit_nodes: Typed[NodeShape] = field(
        init=False, default=Factory(lambda self: Typed(NodeShape, READER, self.cache.unfit), takes_self=True)
    )

    @property
    def claims(self) -> Informer:
        """The cache of all NodeClaims, indexed by provider ID."""
        return self.cache.informer(NODE_CLAIMS)

    @property
    def nodes(self) -> Informer:
        """The cache of all Nodes, indexed by provider ID."""
        return self.cache.informer(NODES)

    def index(self) -> None:
        """Add the indexes that this controller reads by; once, before the caches start."""
        self.claims.add_index(BY_PROVIDER_ID, lambda claim: _present(managed.claimed_provider_id(claim)))
        self.nodes.add_index(BY_PROVIDER_ID, lambda node: _present(managed.provider_id(node)))

    def claims_of(self, provider_id: str) -> list[Object]:
        """The managed claims whose machine has this provider ID."""
        found = self.claims.store.by_index(BY_PROVIDER_ID, provider_id) if provider_id else []
        return [claim for claim in found if managed.is_managed(claim, self.provider.node_classes)]

    def nodes_of(self, provider_id: str) -> Sequence[Object]:
        """The Nodes that this machine joined as: one, unless something is wrong."""
        return self.nodes.store.by_index(BY_PROVIDER_ID, provider_id) if provider_id else []

    def fault(self, *, claims: Iterable[Object] = (), nodes: Iterable[Object] = ()) -> str:
        """What is wrong with the first of these that does not have its kind's form; empty when all do.

        It is reported on the object. A step that would have to guess is not taken: it could end a machine that serves.
        """
        faults = (*(self._fit_claims.read(claim).fault for claim in claims),)
        faults += (*(self._fit_nodes.read(node).fault for node in nodes),)
        return next(filter(None, faults), "")

    async def patch(
        self, resource: Resource, name: str, patch: Mapping[str, Any], *, subresource: str = ""
    ) -> Object | None:
        """Merge a patch into a cluster-scoped object and remember the write; None when the object is gone."""
        try:
            return await self._noted.merge_patch(resource, name, None, patch, subresource=subresource)
        except Exception as error:
            if is_not_found(error):
                return None
            raise

    async def drop_finalizer(self, resource: Resource, obj: Object, finalizer: str) -> None:
        """Remove a finalizer; nothing happens when it, or the object, is gone."""
        head = without_finalizers(obj, finalizer)
        if head:
            await self.patch(resource, metadata.name(obj), {"metadata": head})


def typed(claim: Object) -> NodeClaim:
    """The claim as a typed value."""
    return structure(NodeClaim, claim)


def _present(value: str) -> list[str]:
    return [value] if value else []
