"""A running operator against a real API server, and the hands of a test around it: given, when, then.

The API server is real and so is every object. What this kit plays is what no test machine has: the node provisioner
that answers a NodeClaim (`Stage.provision`, `Stage.release`), and the StatefulSet controller, scheduler and kubelet
that answer a StatefulSet (`Stage.serve`, `Stage.pod`). It writes the same fields as they would and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.api.workspace import WORKSPACES
from kaito_controller.app import wiring
from kaito_controller.app.options import Address, Options
from kaito_controller.kube import metadata
from kaito_controller.kube.core import EVENTS, JOBS, NODES, PODS, STATEFUL_SETS
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.ownership import owner_reference
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.errors import ApiError, is_not_found
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.builders import manifest
from kaito_controller.testing.provisioner import until

WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
QUIET_S: Final = 1.5
"""Longer than any pause in which the operator comes back by itself while something is being made."""

_NOWHERE: Final = Address("", 0, enabled=False)


@frozen(kw_only=True)
class Operator:
    """An operator that runs in this process, with its metrics."""

    metrics: Metrics

    def writes(self) -> float:
        """How many requests that write it has made so far, as its own metrics count them; events included."""
        return sum(
            sample.value
            for family in self.metrics.requests.collect()
            for sample in family.samples
            if sample.name.endswith("_total") and sample.labels["method"] in WRITES
        )

    async def settled(self) -> float:
        """Wait until it has made no write for a while and return how many it had made."""
        before = self.writes()
        while True:
            await asyncio.sleep(QUIET_S)
            if (now := self.writes()) == before:
                return now
            before = now


@asynccontextmanager
async def operator(kubeconfig: Path, **flags: Any) -> AsyncIterator[Operator]:
    """Run the operator as its command line does, for as long as the context lasts; keywords are `Options`."""
    options = Options(kubeconfig=kubeconfig, metrics=_NOWHERE, health=_NOWHERE, log_format="console", **flags)
    metrics, stop = Metrics(), asyncio.Event()
    task = asyncio.create_task(wiring.run(options, stop=stop, metrics=metrics))
    try:
        yield Operator(metrics=metrics)
    finally:
        stop.set()
        await task


@asynccontextmanager
async def stage(kubeconfig: Path, namespace: str) -> AsyncIterator[Stage]:
    """Open the hands of a test in one namespace."""
    async with AioTransport(kubeconfig=kubeconfig) as transport:
        yield Stage(client=Client(transport), namespace=namespace)


@frozen(kw_only=True)
class Stage:
    """What a test does to the cluster and reads from it. Names are those of the namespace unless told otherwise."""

    client: Client
    namespace: str

    async def given_workspace(self, name: str, **fields: Any) -> Object:
        """Create a Workspace as a user would; `fields` are those of `builders.workspace`."""
        return await self.client.create(WORKSPACES, manifest(name, self.namespace, **fields))

    async def change_workspace(self, name: str, patch: Mapping[str, Any]) -> Object:
        """Merge a change into a Workspace."""
        return await self.client.merge_patch(WORKSPACES, name, self.namespace, patch)

    async def take_down(self, name: str, *claims: Object) -> None:
        """Delete a Workspace, let those of its claims go that the test has provisioned, and wait until it is gone."""
        await self.client.delete(WORKSPACES, name, self.namespace)
        await self.node_claims(name, 0)
        for claim in claims:
            await self.release(claim)
        await self.gone(WORKSPACES, name, self.namespace)

    async def workspace(self, name: str) -> Object:
        """Read a Workspace."""
        return await self.client.get(WORKSPACES, name, self.namespace)

    async def shows(self, name: str, kind: str, status: str, reason: str = "", *, patience_s: float = 20.0) -> Object:
        """Wait until a condition of a Workspace has this status (and reason), and return the Workspace."""

        async def probe() -> Object | None:
            found = await self.workspace(name)
            have = condition_of(found, kind)
            return found if have[0] == status and reason in {"", have[1]} else None

        try:
            return await until(f"{name} shows {kind} {status} {reason}", probe, patience_s=patience_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; it shows {(await self.workspace(name)).get('status')}") from None

    async def shows_message(self, name: str, kind: str, words: str) -> Object:
        """Wait until the message of a condition of a Workspace holds these words, and return the Workspace."""

        async def probe() -> Object | None:
            found = await self.workspace(name)
            return found if words in message_of(found, kind) else None

        return await until(f"{name} says {words!r} of {kind}", probe)

    async def node_claims(self, name: str, number: int = 1) -> list[Object]:
        """Wait until a Workspace has exactly so many NodeClaims that are not going, and return them by name."""
        mine = f"{keys.WORKSPACE_NAME}={name},{keys.WORKSPACE_NAMESPACE}={self.namespace}"

        async def probe() -> tuple[list[Object]] | None:
            found = await self.client.list(NODE_CLAIMS, label_selector=mine)
            staying = sorted((claim for claim in found if not metadata.is_deleting(claim)), key=metadata.name)
            return (staying,) if len(staying) == number else None

        return (await until(f"{name} has {number} NodeClaims", probe))[0]

    async def provision(self, claim: Object, *, gpus: int | None = None) -> Object:
        """Play the node provisioner: a Node joins for the claim, and the claim becomes Ready. Returns the Node."""
        name = metadata.name(claim)
        asked = claim["spec"]["resources"]["requests"].get(keys.NVIDIA_GPU, "0")
        size = {keys.NVIDIA_GPU: str(asked if gpus is None else gpus), "cpu": "8", "memory": "64Gi", "pods": "110"}
        types = next(need["values"] for need in claim["spec"]["requirements"] if need["key"] == keys.INSTANCE_TYPE)
        labels = {**metadata.labels(claim), keys.INSTANCE_TYPE: types[0]}
        held = {"metadata": {"finalizers": [keys.TERMINATION_FINALIZER]}}
        await self.client.merge_patch(NODE_CLAIMS, name, None, held)
        await self.join(name, labels=labels, size=size)
        conditions = [condition(kind) for kind in ("Launched", "Registered", "Initialized", "Ready")]
        status = {"nodeName": name, "providerID": f"test://{name}", "conditions": conditions}
        await self.client.merge_patch(NODE_CLAIMS, name, None, {"status": status}, subresource="status")
        return await self.client.get(NODES, name)

    async def join(self, name: str, *, labels: Mapping[str, str], size: Mapping[str, str]) -> Object:
        """Play a kubelet: a Node registers and is Ready."""
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": dict(labels)}}
        await self.client.create(NODES, body)
        status = {"capacity": dict(size), "allocatable": dict(size), "conditions": [condition("Ready")]}
        return await self.client.merge_patch(NODES, name, None, {"status": status}, subresource="status")

    async def release(self, claim: Object) -> None:
        """Play the node provisioner: the machine of a claim that is being deleted is gone."""
        name = metadata.name(claim)
        await self.remove(NODES, name)
        await self.client.merge_patch(NODE_CLAIMS, name, None, {"metadata": {"finalizers": None}})

    async def stateful_set(self, name: str) -> Object:
        """Wait for the StatefulSet of a Workspace."""

        async def probe() -> Object | None:
            return await self.find(STATEFUL_SETS, name, self.namespace)

        return await until(f"StatefulSet {name} exists", probe)

    async def serve(self, name: str) -> None:
        """Play the StatefulSet controller and the kubelets: every replica of the current template is ready."""
        found = await self.stateful_set(name)
        number = found["spec"]["replicas"]
        status = {
            "observedGeneration": metadata.generation(found),
            "replicas": number,
            "readyReplicas": number,
            "availableReplicas": number,
            "updatedReplicas": number,
        }
        await self.client.merge_patch(STATEFUL_SETS, name, self.namespace, {"status": status}, subresource="status")

    async def pod(self, name: str, *, node_name: str, status: Mapping[str, Any]) -> Object:
        """Play the StatefulSet controller and a kubelet: a pod of the Workspace in some state."""
        found = await self.stateful_set(name)
        template = found["spec"]["template"]
        head = {
            "name": f"{name}-0",
            "namespace": self.namespace,
            "labels": template["metadata"]["labels"],
            "ownerReferences": [owner_reference(STATEFUL_SETS, found)],
        }
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": head,
            "spec": {**template["spec"], "nodeName": node_name},
        }
        await self.client.create(PODS, body)
        return await self.client.merge_patch(
            PODS, f"{name}-0", self.namespace, {"status": dict(status)}, subresource="status"
        )

    async def job(self, name: str, *, other_than: str = "") -> Object:
        """Wait for the Job of a Workspace, or for another one than that of a UID."""

        async def probe() -> Object | None:
            found = await self.find(JOBS, name, self.namespace)
            return found if found is not None and metadata.uid(found) != other_than else None

        return await until(f"Job {name} exists", probe)

    async def job_pod(self, name: str, attempt: int, *, node_name: str, status: Mapping[str, Any]) -> Object:
        """Play the Job controller and a kubelet: a pod of the Job, in some state; an attempt that is there changes."""
        found = await self.job(name)
        template, pod_name = found["spec"]["template"], f"{name}-{attempt}"
        if await self.find(PODS, pod_name, self.namespace) is None:
            head = {
                "name": pod_name,
                "namespace": self.namespace,
                "labels": template["metadata"]["labels"],
                "ownerReferences": [owner_reference(JOBS, found)],
            }
            spec = {**template["spec"], "nodeName": node_name}
            await self.client.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": head, "spec": spec})
        patch = {"status": dict(status)}
        return await self.client.merge_patch(PODS, pod_name, self.namespace, patch, subresource="status")

    async def finish_job(self, name: str, outcome: str, *, reason: str = "", message: str = "") -> None:
        """Play the Job controller: the Job is Complete or Failed."""
        moment = "2026-11-22T12:00:00Z"
        before = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}[outcome]
        said = {"reason": reason or outcome, "message": message}
        done = outcome == "Complete"
        status = {
            "startTime": moment,
            **({"completionTime": moment, "succeeded": 1} if done else {"failed": 1}),
            "conditions": [{**condition(kind), **said, "lastProbeTime": moment} for kind in (before, outcome)],
        }
        await self.client.merge_patch(JOBS, name, self.namespace, {"status": status}, subresource="status")

    async def end_pod(self, name: str, number: int = 0) -> None:
        """Play a kubelet: a pod of a Workspace has ended and is gone."""
        path = PODS.path(self.namespace, f"{name}-{number}")
        await self.client.transport.request("DELETE", path, body={"gracePeriodSeconds": 0})

    async def remove(self, resource: Resource, name: str, namespace: str | None = None) -> None:
        """Delete an object at once; one that is gone is fine."""
        try:
            await self.client.delete(resource, name, namespace)
        except ApiError as error:
            if not is_not_found(error):
                raise

    async def find(self, resource: Resource, name: str, namespace: str | None = None) -> Object | None:
        """Read an object, or None when it is not there."""
        return await self.client.find(resource, name, namespace)

    async def gone(self, resource: Resource, name: str, namespace: str | None = None) -> None:
        """Wait until an object is gone."""

        async def probe() -> bool:
            return await self.find(resource, name, namespace) is None

        await until(f"{resource.kind} {name} is gone", probe)

    async def told(self, name: str, reason: str) -> str:
        """Wait for an event of a Workspace with this reason and return its note."""

        async def probe() -> str | None:
            for event in await self.client.list(EVENTS, self.namespace):
                if event["regarding"]["name"] == name and event["reason"] == reason:
                    return str(event["note"])
            return None

        return await until(f"{name} has an event {reason}", probe)


def condition_of(obj: Object, kind: str) -> tuple[str, str]:
    """Return status and reason of a condition; empty texts when it is missing."""
    found = _condition_of(obj, kind)
    return str(found.get("status", "")), str(found.get("reason", ""))


def message_of(obj: Object, kind: str) -> str:
    """Return the message of a condition; empty when it is missing."""
    return str(_condition_of(obj, kind).get("message", ""))


def _condition_of(obj: Object, kind: str) -> Mapping[str, Any]:
    conditions: list[Mapping[str, Any]] = (obj.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == kind), {})


def condition(kind: str, status: str = "True") -> Object:
    """Return a condition as a kubelet or a node provisioner writes it."""
    return {"type": kind, "status": status, "reason": kind, "message": "", "lastTransitionTime": "2026-11-22T12:00:00Z"}
