"""What a Workspace takes down with it, and what it leaves alone."""

from __future__ import annotations

import pytest

from kaito_controller.api import labels as keys
from kaito_controller.api.workspace import WORKSPACES
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.termination import Termination
from kaito_controller.controllers.workspace.writer import Writer
from kaito_controller.kube.core import JOBS, STATEFUL_SETS
from kaito_controller.kube.ownership import owner_reference
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.client.client import Client
from kaito_controller.testing.builders import workspace
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.transport import ScriptedTransport

LEAVING = workspace()
LEAVING["metadata"] |= {"finalizers": [keys.WORKSPACE_FINALIZER], "deletionTimestamp": "2026-11-22T12:00:00Z"}
NAME, NAMESPACE = LEAVING["metadata"]["name"], LEAVING["metadata"]["namespace"]


def workload(uid, *owners):
    """Return a StatefulSet of the Workspace's name with these owners."""
    head = {"name": NAME, "namespace": NAMESPACE, "uid": uid, "labels": {keys.WORKSPACE_NAME: NAME}}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {**head, "ownerReferences": list(owners)}}


def pod(*owners):
    """Return a pod that carries the Workspace's label, with these owners."""
    head = {"name": f"{NAME}-0", "namespace": NAMESPACE, "labels": {keys.WORKSPACE_NAME: NAME}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**head, "ownerReferences": list(owners)}}


async def take_down(clock, **found):
    """Go one step down with the Workspace; return the requests that were made, and why it waits."""
    listed = found.get("wanted_adapters", {}).get("metadata", {}).get("ownerReferences")
    deletions = [{}] if found.get("services") or listed else []
    transport = ScriptedTransport(clock, answers=[*deletions, {"metadata": {}, "items": []}, LEAVING])
    client = Client(transport)
    termination = Termination(Writer(client, Cache(client, clock)), client, clock)
    done = await termination.run(Snapshot(raw=LEAVING, workspace=None, **found))
    return [call.method for call in transport.calls], done.why


def job(uid, *owners):
    """Return a Job of the Workspace's name with these owners."""
    return {**workload(uid, *owners), "apiVersion": "batch/v1", "kind": "Job"}


THEIRS = workload("theirs")
THEIR_JOB = job("theirs")


@pytest.mark.parametrize(
    "found",
    [
        {"stateful_set": THEIRS},
        {"stateful_set": workload("old", {**owner_reference(WORKSPACES, LEAVING), "uid": "of-a-namesake"})},
        {"stateful_set": THEIRS, "pods": (pod(owner_reference(STATEFUL_SETS, THEIRS)),)},
        {"pods": (pod(),)},
        {"job": THEIR_JOB, "pods": (pod(owner_reference(JOBS, THEIR_JOB)),)},
    ],
)
@virtual_time
async def test_a_strangers_workload_is_neither_deleted_nor_waited_for(clock: VirtualClock, found) -> None:
    """Somebody's StatefulSet of the same name survives the Workspace that it was in the way of; so do their pods."""
    assert (["GET", "PATCH"], "") == await take_down(clock, **found)


@virtual_time
async def test_services_do_not_wait_for_the_garbage_collector(clock: VirtualClock) -> None:
    """The own Services are deleted at once, a stranger's is left: a fresh cluster may collect half a minute late."""
    head = {"name": NAME, "namespace": NAMESPACE, "uid": "own-service"}
    own = {"metadata": {**head, "ownerReferences": [owner_reference(WORKSPACES, LEAVING)]}}
    theirs = {"metadata": {**head, "name": f"{NAME}-headless", "uid": "their-service"}}
    assert (["DELETE", "GET", "PATCH"], "") == await take_down(clock, services={"one": own, "other": theirs})


@virtual_time
async def test_the_list_of_adapters_goes_after_the_pods_that_read_it(clock: VirtualClock) -> None:
    """At once then, as the Services: a Workspace of the same name would find it in its way. A stranger's is left."""
    own = {"metadata": {"name": f"{NAME}-adapters", "namespace": NAMESPACE, "uid": "list"}}
    own["metadata"]["ownerReferences"] = [owner_reference(WORKSPACES, LEAVING)]
    left = (pod(owner_reference(STATEFUL_SETS, workload("own"))),)
    assert ([], "pods are going") == await take_down(clock, wanted_adapters=own, pods=left)
    assert (["DELETE", "GET", "PATCH"], "") == await take_down(clock, wanted_adapters=own)
    theirs = {"metadata": {**own["metadata"], "ownerReferences": []}}
    assert (["GET", "PATCH"], "") == await take_down(clock, wanted_adapters=theirs)


@virtual_time
async def test_the_own_workload_goes_first(clock: VirtualClock) -> None:
    """The StatefulSet is deleted, and its pods are waited for, before anything else is touched."""
    own = workload("own", owner_reference(WORKSPACES, LEAVING))
    assert (["DELETE"], "the StatefulSet is going") == await take_down(clock, stateful_set=own)
    left = (pod(owner_reference(STATEFUL_SETS, own)),)
    assert ([], "pods are going") == await take_down(clock, pods=left)


@virtual_time
async def test_the_own_job_goes_first(clock: VirtualClock) -> None:
    """As a StatefulSet does: a node is not taken from under a pod that is writing its checkpoint."""
    own = job("own", owner_reference(WORKSPACES, LEAVING))
    assert (["DELETE"], "the Job is going") == await take_down(clock, job=own)
    assert ([], "pods are going") == await take_down(clock, pods=(pod(owner_reference(JOBS, own)),))
