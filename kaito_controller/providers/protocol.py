"""The contract between the NodeClaim controller and a cloud: six calls and the values they exchange.

Rules every provider keeps (test/conformance checks them):

- ``create`` is idempotent per claim UID: called again for the same claim, whether at once, concurrently, after a lost
  answer or after a restart of the controller, it returns the instance that is already there and never makes a second.
  It may return before the machine has booted; the Node appears when its kubelet registers.
- ``delete`` returns when deletion has *started* and raises `InstanceNotFound` once the instance is gone, so the caller
  polls it. It finds the instance by provider ID, and by the claim's UID when the claim never learnt its provider ID.
- ``get`` and ``list`` tell the cloud's truth, not a cache of what was asked for. ``list`` holds only what this
  provider made for this cluster, with the creation time, and marks what is being deleted.
- The machine registers its Node with the taint ``karpenter.sh/unregistered:NoExecute`` and the claim's taints, so that
  nothing is scheduled there before the controller has seen it.
- Calls may take seconds and are awaited; none of them blocks the event loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from attrs import field, frozen

if TYPE_CHECKING:
    from kaito_controller.api.nodeclaim import NodeClaim


@frozen(kw_only=True)
class NodeClass:
    """A kind of node class that a provider serves: claims whose nodeClassRef names another are none of its business."""

    group: str
    kind: str

    @property
    def label(self) -> str:
        """The label key that carries the node class's name on claims and nodes: ``<group>/<kind in lower case>``."""
        return f"{self.group}/{self.kind.lower()}"


KAITO_NODE_CLASS = NodeClass(group="kaito.sh", kind="KaitoNodeClass")


@frozen(kw_only=True)
class Instance:
    """One machine as its cloud sees it.

    ``provider_id`` is what the kubelet will write into the Node's ``spec.providerID``. ``node_name`` is known when the
    provider chooses it beforehand. ``capacity`` and ``allocatable`` are estimates in Kubernetes quantities
    (``{"nvidia.com/gpu": "1", "memory": "112Gi"}``). ``claim_uid`` and ``claim_name`` say which claim the instance
    was tagged with. ``created_at`` is None where the cloud does not tell: such an instance is never collected by age.
    """

    provider_id: str
    name: str
    node_name: str | None = None
    claim_uid: str = ""
    claim_name: str = ""
    labels: Mapping[str, str] = field(factory=dict)
    annotations: Mapping[str, str] = field(factory=dict)
    capacity: Mapping[str, str] = field(factory=dict)
    allocatable: Mapping[str, str] = field(factory=dict)
    image_id: str = ""
    created_at: datetime | None = None
    deleting: bool = False


@runtime_checkable
class CloudProvider(Protocol):
    """A cloud that turns NodeClaims into machines. The first of ``node_classes`` is the default one."""

    @property
    def name(self) -> str:
        """The provider's name as in ``--provider``."""
        ...

    @property
    def node_classes(self) -> tuple[NodeClass, ...]:
        """The node classes whose claims this provider serves."""
        ...

    async def create(self, claim: NodeClaim) -> Instance:
        """Launch the claim's instance, or return the one it already has.

        Raises `InsufficientCapacity`, `NodeClassNotReady` or `CreateError`.
        """
        ...

    async def delete(self, claim: NodeClaim) -> None:
        """Start deleting the claim's instance. Raises `InstanceNotFound` once there is none."""
        ...

    async def get(self, provider_id: str) -> Instance:
        """Return one instance. Raises `InstanceNotFound` when it is gone."""
        ...

    async def list(self) -> Sequence[Instance]:
        """Return every instance this provider made for this cluster, those being deleted included."""
        ...

    async def close(self) -> None:
        """Release connections and background work; machines stay."""
        ...
