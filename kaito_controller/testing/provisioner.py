"""A running node provisioner against a real API server, and the hands of a test: claims, joining machines, waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from attrs import frozen

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NEVER, NODE_CLAIMS, NodeClaim
from kaito_controller.controllers.nodeclaim.controller import NodeProvisioner, node_provisioner
from kaito_controller.controllers.nodeclaim.lifecycle.backoff import BackoffPolicy
from kaito_controller.controllers.nodeclaim.timing import Timing
from kaito_controller.kube.core import NODES
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.serde import structure
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.errors import ApiError, is_conflict
from kaito_controller.machinery.events.recorder import EventRecorder
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.providers.protocol import CloudProvider, NodeClass
from kaito_controller.testing.cloud import FakeCloud

T = TypeVar("T")
PATIENCE_S = 20.0
LOOK_S = 0.05
GRACE_S = 1.0
_RANDOM = Random(0)  # noqa: S311 - names events, guards nothing

BRISK = Timing(
    launch_backoff=BackoffPolicy(first_s=0.05, limit_s=0.2),
    capacity_backoff=BackoffPolicy(first_s=0.2, limit_s=0.4),
    drain_poll_s=0.1,
    termination_poll_s=0.2,
    collection_interval_s=3600.0,
)
"""The provisioner's durations for tests: pauses short enough to wait for, timeouts as they are."""


def claim(
    name: str,
    node_class: NodeClass,
    *,
    instance_type: str = "Standard_NC6s_v3",
    requests: dict[str, str] | None = None,
    **spec: Any,
) -> Object:
    """Return a NodeClaim as an owner would create it; further fields of the spec by name."""
    return {
        "apiVersion": NODE_CLAIMS.api_version,
        "kind": NODE_CLAIMS.kind,
        "metadata": {"name": name, "labels": {"team": "blue"}},
        "spec": {
            "nodeClassRef": {"group": node_class.group, "kind": node_class.kind, "name": "default"},
            "requirements": [{"key": keys.INSTANCE_TYPE, "operator": "In", "values": [instance_type]}],
            "resources": {"requests": requests or {keys.NVIDIA_GPU: "1", "storage": "100Gi"}},
            "taints": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
            "expireAfter": NEVER,
            **spec,
        },
    }


@frozen(kw_only=True)
class Rig:
    """A running provisioner, and what a test does around it."""

    client: Client
    provisioner: NodeProvisioner

    async def create(self, claim: Object) -> NodeClaim:
        """Create a claim and return it as the API server has it."""
        return structure(NodeClaim, await self.client.create(NODE_CLAIMS, claim))

    async def claim(self, name: str) -> NodeClaim:
        """The claim as it is now. Raises `ApiError` when it is gone."""
        return structure(NodeClaim, await self.client.get(NODE_CLAIMS, name))

    async def join(self, node: Object) -> Object:
        """Let a machine join: create its Node, and do what the node lifecycle controller does for a ready one."""
        created = await self.client.create(NODES, node)
        name = created["metadata"]["name"]
        if any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"]["conditions"]):
            await self._drop_taint(created, keys.TAINT_NOT_READY)
        return await self.client.merge_patch(NODES, name, None, {"status": node["status"]}, subresource="status")

    async def _drop_taint(self, node: Object, key: str) -> None:
        """Remove a taint, as often as it takes: the provisioner writes to the same list."""
        while True:
            kept = [taint for taint in node["spec"].get("taints") or () if taint["key"] != key]
            head = {"resourceVersion": node["metadata"]["resourceVersion"]}
            name = node["metadata"]["name"]
            try:
                await self.client.merge_patch(NODES, name, None, {"metadata": head, "spec": {"taints": kept}})
            except ApiError as error:
                if not is_conflict(error):
                    raise
                node = await self.client.get(NODES, name)
            else:
                return

    async def launched(self, name: str) -> NodeClaim:
        """Wait until the claim is launched and return it."""

        async def probe() -> NodeClaim | None:
            found = await self.claim(name)
            return found if status_of(found, "Launched") == "True" else None

        return await until(f"claim {name} is launched", probe)

    async def shows(self, name: str, type: str, *wanted: str) -> NodeClaim:  # noqa: A002
        """Wait until a condition of the claim has this status (and reason, when given) and return the claim."""

        async def probe() -> NodeClaim | None:
            found = await self.claim(name)
            condition = condition_of(found, type)
            return found if condition[: len(wanted)] == wanted else None

        return await until(f"claim {name} shows {type} {wanted}", probe)

    async def gone(self, resource: Any, name: str, namespace: str | None = None) -> None:
        """Wait until an object is gone."""

        async def probe() -> bool:
            return not await self.exists(resource, name, namespace)

        await until(f"{resource.kind} {name} is gone", probe)

    async def exists(self, resource: Any, name: str, namespace: str | None = None) -> bool:
        """Whether an object is there."""
        return await self.client.find(resource, name, namespace) is not None


def condition_of(claim: NodeClaim, type: str) -> tuple[str, ...]:  # noqa: A002
    """Status and reason of a condition; empty when it is missing."""
    return next(((one.status, one.reason) for one in claim.status.conditions if one.type == type), ())


def status_of(claim: NodeClaim, type: str) -> str:  # noqa: A002
    """The status of a condition; empty when it is missing."""
    return next(iter(condition_of(claim, type)), "")


async def until(what: str, probe: Callable[[], Awaitable[T | None]], *, patience_s: float = PATIENCE_S) -> T:
    """Look until the probe returns something true, and return that; fails when it does not come in time."""
    try:
        async with asyncio.timeout(patience_s):
            while not (found := await probe()):  # noqa: ASYNC110 - the world outside sets no event
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise AssertionError(f"not within {patience_s:.0f} s: {what}") from None
    return found


@asynccontextmanager
async def provisioning(
    kubeconfig: Path, provider: CloudProvider | FakeCloud, *, timing: Timing = BRISK
) -> AsyncIterator[Rig]:
    """Run the node provisioner over a provider for as long as the context lasts. What hangs at the end is cut off."""
    clock, metrics = RealClock(), Metrics()
    async with AioTransport(kubeconfig=kubeconfig) as transport:
        client = Client(transport)
        events = EventRecorder(
            client=client, clock=clock, rng=_RANDOM, metrics=metrics, controller="test", instance="test-0"
        )
        cache = Cache(client, clock, metrics, recorder=events)
        provisioner = node_provisioner(
            client=client, cache=cache, clock=clock, events=events, provider=provider, metrics=metrics, timing=timing
        )
        stop = asyncio.Event()
        cache.start()
        await cache.wait_synced()
        parts = [asyncio.create_task(part.run(stop)) for part in (provisioner.lifecycle, provisioner.node_termination)]
        recording = asyncio.create_task(events.run())
        try:
            yield Rig(client=client, provisioner=provisioner)
        finally:
            stop.set()
            await asyncio.wait(parts, timeout=GRACE_S)
            await events.flush()
            await _end([*parts, recording])
            await cache.stop()


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
