"""The provider ``kwok``: machines that exist as Node objects only. For trying things out and for tests of scale.

It cannot show what needs a real kubelet: images, volumes, logs, a model that answers.
"""

from __future__ import annotations

from collections.abc import Sequence

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NodeClaim
from kaito_controller.api.reasons import Reason
from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.loader import Catalog, UnknownInstanceType
from kaito_controller.kube import metadata
from kaito_controller.kube.core import NODES
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.rbac import Rule
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiError, is_already_exists, is_conflict, is_not_found
from kaito_controller.providers.errors import CreateError, InstanceNotFound
from kaito_controller.providers.kwok import nodes
from kaito_controller.providers.protocol import KAITO_NODE_CLASS, Instance, NodeClass
from kaito_controller.providers.registry import ProviderContext

RULES = (Rule(resource=NODES, verbs=("get", "list", "create", "patch", "delete"), why="a machine is its Node object"),)
"""What this provider does in the cluster."""


class KwokProvider:
    """Makes, finds and removes Node objects. ``boot_s`` is how long a launch takes."""

    name = "kwok"
    node_classes: tuple[NodeClass, ...] = (KAITO_NODE_CLASS,)

    def __init__(self, client: Client, clock: Clock, catalog: Catalog, *, boot_s: float = 0.0) -> None:
        self._client = client
        self._clock = clock
        self._catalog = catalog
        self._boot_s = boot_s

    async def create(self, claim: NodeClaim) -> Instance:
        """Create the claim's Node, unless it is there. Raises `CreateError`."""
        sku = self._sku(claim)
        present = await self._client.find(NODES, claim.metadata.name)
        if present is None:
            if self._boot_s:
                await self._clock.sleep(self._boot_s)
            present = await self._create(claim, sku)
        if not _belongs(present, claim) or nodes.has_ended(present):
            raise CreateError(
                Reason.NODE_NAME_TAKEN.value,
                f"a Node named {claim.metadata.name} exists that is not this claim's machine.",
                remedy="It is tried again; delete that Node if it stays.",
            )
        return nodes.instance(present)

    async def delete(self, claim: NodeClaim) -> None:
        """End the machine: mark its Node as ended and delete it. Raises `InstanceNotFound` afterwards."""
        name = nodes.node_name(claim.status.provider_id) or claim.metadata.name
        node = await self._client.find(NODES, name)
        if node is None or nodes.has_ended(node) or not _belongs(node, claim):
            raise InstanceNotFound(f"there is no simulated machine for claim {claim.metadata.name}.")
        try:
            ended = {"metadata": {"annotations": {nodes.ENDED_ANNOTATION: "true"}}}
            await self._client.merge_patch(NODES, name, None, ended)
            await self._client.delete(NODES, name, uid=metadata.uid(node))
        except ApiError as error:
            if is_not_found(error) or is_conflict(error):
                raise InstanceNotFound(f"the simulated machine of claim {claim.metadata.name} is gone.") from error
            raise

    async def get(self, provider_id: str) -> Instance:
        """Return one machine. Raises `InstanceNotFound`."""
        name = nodes.node_name(provider_id)
        node = await self._client.find(NODES, name) if name else None
        if node is None or nodes.has_ended(node) or nodes.instance(node).provider_id != provider_id:
            raise InstanceNotFound(f"there is no simulated machine {provider_id}.")
        return nodes.instance(node)

    async def list(self) -> Sequence[Instance]:
        """Return every machine this provider made."""
        found = await self._client.list(NODES, label_selector=nodes.CLAIM_LABEL)
        return [nodes.instance(node) for node in found if not nodes.has_ended(node)]

    async def close(self) -> None:
        """Nothing is held."""

    def _sku(self, claim: NodeClaim) -> SKU:
        wanted = claim.spec.values_of(keys.INSTANCE_TYPE)
        if not wanted:
            raise CreateError(
                Reason.INSTANCE_TYPE_NOT_FOUND.value,
                f"spec.requirements: a requirement {keys.INSTANCE_TYPE} with operator In must name the instance type; "
                "found none.",
                remedy="Delete the NodeClaim and create one that names it.",
            )
        try:
            return self._catalog.sku(wanted[0])
        except UnknownInstanceType as error:
            raise CreateError(
                Reason.INSTANCE_TYPE_NOT_FOUND.value,
                f"spec.requirements: {error}.",
                remedy="Delete the NodeClaim and create one with a known instance type.",
            ) from error

    async def _create(self, claim: NodeClaim, sku: SKU) -> Object:
        try:
            return await self._client.create(NODES, nodes.node(claim, sku))
        except ApiError as error:
            if is_already_exists(error):
                return await self._client.get(NODES, claim.metadata.name)
            raise


def _belongs(node: Object, claim: NodeClaim) -> bool:
    """Whether the Node is the machine of this very claim; a stand-in without UID is known by its provider ID."""
    machine = nodes.instance(node)
    if claim.metadata.uid:
        return machine.claim_uid == claim.metadata.uid
    return bool(claim.status.provider_id) and machine.provider_id == claim.status.provider_id


def open_provider(context: ProviderContext) -> KwokProvider:
    """Open the provider; option ``boot-seconds`` is how long a launch takes. Raises ValueError when it is no number."""
    return KwokProvider(
        context.client, context.clock, context.catalog, boot_s=float(context.options.get("boot-seconds", "0"))
    )
