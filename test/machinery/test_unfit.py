"""Bad input: objects of another form than we expect stay in sight, are told of once, and stop nobody else's work.

The whole operator runs here in virtual time against the fake API server, whose storage lets in what a real one would
refuse: a newer API's fields, nulls, values of another kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from attrs import evolve, frozen

from kaito_controller.api import labels as keys
from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.api.workspace import WORKSPACES
from kaito_controller.app.controllers import CONTROLLERS, Parts
from kaito_controller.app.options import Options
from kaito_controller.catalog import loader
from kaito_controller.kube import metadata
from kaito_controller.kube.core import EVENTS, NAMESPACES, NODES, PODS
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.cache.unfit import REASON
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.events.recorder import EventRecorder
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.providers.protocol import KAITO_NODE_CLASS
from kaito_controller.testing.clock import VirtualClock, cancelled, virtual_time
from kaito_controller.testing.cloud import FakeCloud
from kaito_controller.testing.fake.server import FakeServer
from kaito_controller.testing.fake.transport import FakeTransport
from kaito_controller.testing.provisioner import claim
from kaito_controller.testing.scenario import Stage, condition_of

CALM = 60
"""Requests that an operator may make in ten minutes for an object that it cannot read: one a minute and some slack."""

CONTENT: Mapping[str, tuple[Resource, Callable[[Object], Object]]] = {
    "a Workspace's resource is text": (WORKSPACES, lambda obj: {**obj, "resource": "all of it"}),
    "a Workspace's list is null": (WORKSPACES, lambda obj: {**obj, "inference": {"adapters": [None]}}),
    "a NodeClaim's conditions are text": (NODE_CLAIMS, lambda obj: {**obj, "status": {"conditions": "Ready"}}),
    "a NodeClaim's requirements are a number": (NODE_CLAIMS, lambda obj: {**obj, "spec": {"requirements": 3}}),
    "a Node's condition is null": (NODES, lambda obj: {**obj, "status": {**obj["status"], "conditions": [None]}}),
    "a Node's sizes are a list": (NODES, lambda obj: {**obj, "status": {"allocatable": ["nvidia.com/gpu"]}}),
    "a Node's labels are a list": (NODES, lambda obj: {**obj, "metadata": {**obj["metadata"], "labels": ["a"]}}),
    "a Node's status is text": (NODES, lambda obj: {**obj, "status": "Ready"}),
    "a Pod's containers are a map": (PODS, lambda obj: {**obj, "status": {"containerStatuses": {"a": "b"}}}),
    "a Pod's spec is null": (PODS, lambda obj: {**obj, "spec": None, "status": {"conditions": {"type": 1}}}),
}


@frozen(kw_only=True)
class Scene:
    """A running operator, its server, and the hands of the test."""

    server: FakeServer
    cache: Cache
    metrics: Metrics
    hands: Stage
    cloud: FakeCloud

    def spoil(self, resource: Resource, name: str, change: Callable[[Object], Object]) -> Object:
        """Change an object in the server's storage, past everything that would refuse it."""
        collection = self.server.kinds.of(resource).group_resource
        stored = self.server.storage.collection(collection).objects
        key, obj = next((key, obj) for key, obj in stored.items() if metadata.name(obj) == name)
        return self.server.storage.write(collection, key, change(obj))

    def kept(self, resource: Resource) -> set[str]:
        """The UIDs of the objects of a kind that the operator holds."""
        label = keys.WORKSPACE_NAME if resource == PODS else ""
        return {metadata.uid(obj) for obj in self.cache.informer(resource, label_selector=label).store.list()}

    def reported(self, kind: str) -> float:
        """How many objects of a kind were counted as unfit."""
        return self.metrics.registry.get_sample_value("informer_unfit_objects_total", {"name": kind}) or 0

    def told(self, name: str) -> list[str]:
        """The notes of the events that say that an object does not fit."""
        events = self.server.objects(EVENTS)
        return [event["note"] for event in events if event["reason"] == REASON and event["regarding"]["name"] == name]


@asynccontextmanager
async def scene(clock: VirtualClock, *controllers: str) -> AsyncIterator[Scene]:
    """The operator with these controllers."""
    server, metrics = FakeServer(clock, Random(1)), Metrics()
    server.serve(WORKSPACES, NODE_CLAIMS)
    server.create(NAMESPACES, {"metadata": {"name": "models"}})
    client = Client(FakeTransport(server))
    recorder = EventRecorder(
        client=client, clock=clock, rng=Random(1), metrics=metrics, controller="test", instance="test-0"
    )
    cache, cloud = Cache(client, clock, metrics, rng=Random(1), recorder=recorder), FakeCloud(clock=clock)
    parts = Parts(
        options=Options(),
        client=client,
        cache=cache,
        clock=clock,
        metrics=metrics,
        recorder=recorder,
        catalog=loader.load(),
        provider=cloud,
    )
    runnables = [runnable for name in controllers for runnable in CONTROLLERS[name].build(parts)]
    stop = asyncio.Event()
    cache.start()
    await cache.wait_synced()
    running = [asyncio.create_task(runnable.run(stop)) for runnable in runnables]
    recording = asyncio.create_task(recorder.run())
    try:
        hands = Stage(client=client, namespace="models")
        yield Scene(server=server, cache=cache, metrics=metrics, hands=hands, cloud=cloud)
    finally:
        stop.set()
        await asyncio.wait(running)
        await cancelled(recording)
        await cache.stop()


async def ready(hands: Stage, name: str) -> None:
    """Bring a Workspace to READY."""
    (made,) = await hands.node_claims(name)
    await hands.provision(made)
    await hands.serve(name)
    await hands.shows(name, "WorkspaceSucceeded", "True")


@pytest.mark.parametrize("content", CONTENT)
@virtual_time
async def test_what_one_workspace_cannot_be_read_from_stops_no_other(clock: VirtualClock, content: str) -> None:
    """The neighbour becomes READY; the odd object is kept, told of once, and asked about once a minute at most."""
    resource, change = CONTENT[content]
    async with scene(clock, "workspace") as stage:
        hands = stage.hands
        await hands.given_workspace("odd")
        (its_claim,) = await hands.node_claims("odd")
        node = await hands.provision(its_claim)
        await hands.stateful_set("odd")
        await hands.pod("odd", node_name=metadata.name(node), status={"phase": "Running"})
        name = {WORKSPACES: "odd", NODE_CLAIMS: metadata.name(its_claim), NODES: metadata.name(node), PODS: "odd-0"}
        written = stage.spoil(resource, name[resource], change)
        await clock.sleep(5)
        before = len(stage.server.requests)

        await hands.given_workspace("good")
        await ready(hands, "good")
        made = len(stage.server.requests)
        await clock.sleep(600)

        assert len(stage.server.requests) - made <= CALM
        assert made - before < 400
        assert written["metadata"]["uid"] in stage.kept(resource)
        assert stage.reported(resource.kind) == 1
        if resource != WORKSPACES:
            assert len(stage.told(name[resource])) == 1
        else:
            odd = await hands.workspace("odd")
            assert condition_of(odd, "ResourceReady") == ("False", "InvalidSpec")


@virtual_time
async def test_an_object_that_is_corrected_is_taken_up_again(clock: VirtualClock) -> None:
    """The update from unfit to fit wakes its Workspace, though its old state can be compared with nothing."""
    async with scene(clock, "workspace") as stage:
        await stage.hands.given_workspace("odd")
        (its_claim,) = await stage.hands.node_claims("odd")
        node = await stage.hands.provision(its_claim)
        await stage.hands.serve("odd")
        await stage.hands.shows("odd", "WorkspaceSucceeded", "True")
        stage.spoil(NODES, metadata.name(node), lambda obj: {**obj, "status": "Ready"})
        stage.spoil(NODE_CLAIMS, metadata.name(its_claim), lambda obj: {**obj, "status": ["Ready"]})
        shown = await stage.hands.shows("odd", "ResourceReady", "False", "NodeClaimNotReady")
        assert "status: must be an object; found ['Ready']" in str(shown["status"]["conditions"])
        assert len(await stage.hands.node_claims("odd")) == 1, "a machine that may serve is not replaced"
        stage.spoil(NODE_CLAIMS, metadata.name(its_claim), lambda obj: {**obj, "status": its_status(node)})
        stage.spoil(NODES, metadata.name(node), lambda obj: {**obj, "status": node["status"]})
        await stage.hands.shows("odd", "WorkspaceSucceeded", "True")


def its_status(node: Object) -> Object:
    """The status of a NodeClaim that is ready on this node."""
    stages = ("Launched", "Registered", "Initialized", "Ready")
    return {
        "nodeName": metadata.name(node),
        "conditions": [{"type": stage, "status": "True", "reason": stage, "message": ""} for stage in stages],
    }


CLAIMS: Mapping[str, Any] = {
    "taints are text": {"taints": "sku=gpu:NoSchedule"},
    "a requirement is null": {"requirements": [None]},
    "sizes are numbers with a point": {"resources": {"requests": {"nvidia.com/gpu": 1.5}}},
}


@pytest.mark.parametrize("content", CLAIMS)
@virtual_time
async def test_a_claim_that_cannot_be_read_stops_no_other(clock: VirtualClock, content: str) -> None:
    """No machine is made of a guess; the neighbour's is launched; corrected, the odd claim's is launched, too."""
    async with scene(clock, "nodeclaim") as stage:
        odd = claim("odd", KAITO_NODE_CLASS)
        stage.server.create(NODE_CLAIMS, {**odd, "spec": odd["spec"] | CLAIMS[content]})
        await clock.sleep(5)
        await stage.hands.client.create(NODE_CLAIMS, claim("good", KAITO_NODE_CLASS))
        await clock.sleep(5)
        assert condition_of(stage.server.get(NODE_CLAIMS, "good"), "Launched")[0] == "True"
        assert condition_of(stage.server.get(NODE_CLAIMS, "odd"), "Launched")[0] == ""
        made = len(stage.server.requests)
        await clock.sleep(600)
        assert len(stage.server.requests) - made <= CALM
        assert stage.reported("NodeClaim") == 1
        failed = {"controller": "nodeclaim.lifecycle"}
        assert stage.metrics.registry.get_sample_value("controller_runtime_reconcile_errors_total", failed) == 0
        [note] = stage.told("odd")
        assert note.startswith("spec.")
        assert "The node provisioner passes it over until it is corrected" in note
        stage.spoil(NODE_CLAIMS, "odd", lambda obj: {**obj, "spec": odd["spec"]})
        await clock.sleep(5)
        assert condition_of(stage.server.get(NODE_CLAIMS, "odd"), "Launched")[0] == "True"


@virtual_time
async def test_a_claim_that_cannot_be_read_keeps_its_machine_and_no_others(clock: VirtualClock) -> None:
    """The garbage collector ends the machine of a claim that is gone, and leaves alone that of one it cannot read."""
    async with scene(clock, "nodeclaim") as stage:
        for name in ("odd", "gone"):
            await stage.hands.client.create(NODE_CLAIMS, claim(name, KAITO_NODE_CLASS))
        await clock.sleep(5)
        assert {machine.claim_name for machine in stage.cloud.instances.values()} == {"odd", "gone"}
        stage.spoil(NODE_CLAIMS, "odd", lambda obj: {**obj, "status": ["Launched"]})
        # A machine that somebody tagged by hand is told by its claim's name and provider ID alone.
        uid, machine = next(item for item in stage.cloud.instances.items() if item[1].claim_name == "odd")
        stage.cloud.instances[uid] = evolve(machine, claim_uid="")
        stage.server.storage.remove("nodeclaims.karpenter.sh", "gone")
        await clock.sleep(600)
        living = {machine.claim_name for machine in stage.cloud.instances.values() if not machine.deleting}
        assert living == {"odd"}
        assert not any(each.deleting and each.claim_name == "odd" for each in stage.cloud.instances.values())
