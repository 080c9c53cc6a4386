"""The one reason a user should read first when pods do not serve."""

from __future__ import annotations

import pytest

from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.workspace import pods
from kaito_controller.testing.builders import pod


def waiting(reason, message="", last_exit=None):
    """Return the status of a container that waits."""
    status = {"name": "demo", "state": {"waiting": {"reason": reason, "message": message}}}
    if last_exit is not None:
        status["lastState"] = {"terminated": last_exit}
    return status


EVICTED = {"phase": "Failed", "reason": "Evicted"}
UNSCHEDULABLE = {
    "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}
    ]
}


@pytest.mark.parametrize(
    ("found", "reason", "message"),
    [
        (
            pod(containers=[waiting("ImagePullBackOff", "Back-off pulling image x")]),
            Reason.IMAGE_PULL_ERROR,
            "pod demo-0, container demo: ImagePullBackOff: Back-off pulling image x",
        ),
        (
            pod(containers=[waiting("CreateContainerConfigError", 'secret "s" not found')]),
            Reason.CONTAINER_START_ERROR,
            'pod demo-0, container demo: CreateContainerConfigError: secret "s" not found',
        ),
        (
            pod(containers=[waiting("CrashLoopBackOff", last_exit={"exitCode": 66, "message": "no such model\n"})]),
            Reason.CONTAINER_CRASH_LOOP,
            (
                "pod demo-0, container demo keeps crashing, exit code 66: the model cannot be found, read or is not "
                "safetensors; it said: no such model"
            ),
        ),
        (
            pod(containers=[waiting("CrashLoopBackOff", last_exit={"exitCode": 137, "reason": "OOMKilled"})]),
            Reason.CONTAINER_OOM_KILLED,
            "pod demo-0, container demo was killed for memory; give it a larger instance type or a shorter context",
        ),
        (
            pod(status={**EVICTED, "message": "The node was low on resource: ephemeral-storage."}),
            Reason.NODE_DISK_PRESSURE,
            "pod demo-0 was evicted: The node was low on resource: ephemeral-storage.",
        ),
        (
            pod(status={**EVICTED, "message": "The node was low on resource: memory."}),
            Reason.NODE_MEMORY_PRESSURE,
            "pod demo-0 was evicted: The node was low on resource: memory.",
        ),
        (pod(status=EVICTED), Reason.POD_EVICTED, "pod demo-0 was evicted: no message"),
        (pod(status=UNSCHEDULABLE), Reason.UNSCHEDULABLE, "pod demo-0: 0/3 nodes are available"),
    ],
)
def test_trouble(found, reason, message):
    """Each way a pod can fail to serve has its reason and a sentence that says what to do or what was said."""
    assert pods.Trouble(reason=reason, message=message) == pods.trouble([found])


def test_a_starting_pod_is_no_trouble():
    """A pod that merely starts, and one that is ready after crashes, have nothing to say."""
    crashed = {"name": "demo", "state": {"running": {}}, "lastState": {"terminated": {"reason": "OOMKilled"}}}
    assert pods.trouble([pod(), pod(ready=True, containers=[crashed])]) is None


def test_the_order_of_checks_is_the_order_of_importance():
    """Memory comes before images, whichever pod has it."""
    killed = pod("demo-1", containers=[waiting("CrashLoopBackOff", last_exit={"reason": "OOMKilled"})])
    pulling = pod("demo-0", containers=[waiting("ErrImagePull")])
    assert Reason.CONTAINER_OOM_KILLED == pods.trouble([pulling, killed]).reason


def test_long_messages_are_cut():
    """A condition's message stays readable."""
    found = pods.trouble([pod(containers=[waiting("ErrImagePull", "x" * 500)])])
    assert 259 == len(found.message)
    assert found.message.endswith("...")
