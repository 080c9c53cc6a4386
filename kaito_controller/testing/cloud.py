"""A cloud in memory, for tests of the node provisioner.

It stands for a cloud's API behind a provider: what cannot be had on a developer's machine, above all its failures. It
keeps the rules of the provider protocol (test/conformance runs the same suite against it, kwok and the local provider).
It makes no Nodes: a test lets a machine join with `FakeCloud.node`, so that it decides when and in which state.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from attrs import define, evolve, field

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NodeClaim
from kaito_controller.kube.serde import unstructure
from kaito_controller.machinery.clock import Clock
from kaito_controller.providers.errors import InstanceNotFound, InsufficientCapacity
from kaito_controller.providers.protocol import KAITO_NODE_CLASS, Instance, NodeClass

SIZE = {"cpu": "8", "memory": "64Gi", "ephemeral-storage": "1Ti", "pods": "110", keys.NVIDIA_GPU: "1"}


@define
class FakeCloud:
    """Instances by claim UID, and switches for what goes wrong.

    ``limit``: how many instances fit, beyond which creating one is `InsufficientCapacity`. ``failures``: errors that
    the next creations raise instead, one each. ``lose_answers``: how many creations succeed and then lose their answer.
    ``polls_to_end``: how many calls of delete an instance survives after the first. ``create_s``: how long a creation
    takes on the clock. ``calls`` counts calls by method.
    """

    clock: Clock
    limit: int | None = None
    failures: deque[Exception] = field(factory=deque)
    lose_answers: int = 0
    polls_to_end: int = 0
    create_s: float = 0.0
    name: str = "fake"
    node_classes: tuple[NodeClass, ...] = (KAITO_NODE_CLASS,)
    calls: Counter[str] = field(factory=Counter, init=False)
    instances: dict[str, Instance] = field(factory=dict, init=False)
    _polls: Counter[str] = field(factory=Counter, init=False)

    async def create(self, claim: NodeClaim) -> Instance:
        """Launch the claim's instance, or fail as the switches say."""
        self.calls["create"] += 1
        if self.create_s:
            await self.clock.sleep(self.create_s)
        if self.failures:
            raise self.failures.popleft()
        uid = claim.metadata.uid
        if uid not in self.instances:
            self._demand_room()
            self.instances[uid] = self._new(claim)
        if self.lose_answers:
            self.lose_answers -= 1
            raise ConnectionError("the connection broke after the request had been sent")
        return self.instances[uid]

    async def delete(self, claim: NodeClaim) -> None:
        """Start ending the claim's instance; it is gone after ``polls_to_end`` further calls."""
        self.calls["delete"] += 1
        found = self._find(claim)
        if found is None:
            raise InstanceNotFound(f"no instance for claim {claim.metadata.name}.")
        if found.deleting and self._polls[found.claim_uid] >= self.polls_to_end:
            del self.instances[found.claim_uid]
            raise InstanceNotFound(f"the instance of claim {claim.metadata.name} is gone.")
        self._polls[found.claim_uid] += found.deleting
        self.instances[found.claim_uid] = evolve(found, deleting=True)

    async def get(self, provider_id: str) -> Instance:
        """Return one instance that is not being ended."""
        self.calls["get"] += 1
        for instance in self.instances.values():
            if instance.provider_id == provider_id and not instance.deleting:
                return instance
        raise InstanceNotFound(f"no instance {provider_id}.")

    async def list(self) -> Sequence[Instance]:
        """Return every instance."""
        self.calls["list"] += 1
        return list(self.instances.values())

    async def close(self) -> None:
        """Nothing is held."""

    def vanish(self, claim_uid: str) -> None:
        """Let an instance disappear, as when somebody deletes it at the cloud."""
        del self.instances[claim_uid]

    def node(self, claim: NodeClaim, *, ready: bool = True, gpus: str = "1", **spec: Any) -> dict[str, Any]:
        """The Node as which the claim's machine joins."""
        instance = self.instances[claim.metadata.uid]
        taints = [unstructure(taint) for taint in (*claim.spec.taints, *claim.spec.startup_taints)]
        size = {**SIZE, keys.NVIDIA_GPU: gpus}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": instance.name, "labels": dict(instance.labels)},
            "spec": {
                "providerID": instance.provider_id,
                "taints": [*taints, {"key": keys.TAINT_UNREGISTERED, "effect": "NoExecute"}],
                **spec,
            },
            "status": {
                "capacity": size,
                "allocatable": size,
                "conditions": [{"type": "Ready", "status": "True" if ready else "False", "reason": "Fake"}],
            },
        }

    def _demand_room(self) -> None:
        if self.limit is not None and len(self.instances) >= self.limit:
            raise InsufficientCapacity(
                f"the cloud holds {len(self.instances)} machines of at most {self.limit}.",
                remedy="Delete a NodeClaim or raise the limit; it is tried again.",
            )

    def _new(self, claim: NodeClaim) -> Instance:
        wanted = claim.spec.values_of(keys.INSTANCE_TYPE)
        return Instance(
            provider_id=f"fake://{claim.metadata.name}/{claim.metadata.uid}",
            name=claim.metadata.name,
            claim_uid=claim.metadata.uid,
            claim_name=claim.metadata.name,
            labels={keys.INSTANCE_TYPE: wanted[0] if wanted else "fake"},
            capacity=SIZE,
            allocatable=SIZE,
            image_id="fake-image",
            created_at=self.clock.now(),
        )

    def _find(self, claim: NodeClaim) -> Instance | None:
        by_uid = self.instances.get(claim.metadata.uid)
        if by_uid is not None or not claim.status.provider_id:
            return by_uid
        return next((one for one in self.instances.values() if one.provider_id == claim.status.provider_id), None)
