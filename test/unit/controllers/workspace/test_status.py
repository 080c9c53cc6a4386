"""What the user reads, from what exists."""

from __future__ import annotations

import copy

import pytest

from kaito_controller.api import labels as keys
from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.workspace import events, status
from kaito_controller.controllers.workspace.verdict import Blocked, Outcome, StepResult
from kaito_controller.machinery.errors import ApiError
from kaito_controller.testing.builders import INSTANCE_TYPE, SELECTOR, gpu_labels, node, node_claim, pod, workspace

CLAIMED = node("node-1", labels={keys.WORKSPACE_NAME: "demo", keys.WORKSPACE_NAMESPACE: "models"})
READY_CLAIM = node_claim("ws0", node_name="node-1")


def conditions(found):
    """Return the conditions as ``{type: (status, reason)}``."""
    return {item["type"]: (item["status"], item["reason"]) for item in found["conditions"]}


def message(found, kind):
    """Return the message of a condition."""
    return next(item["message"] for item in found["conditions"] if item["type"] == kind)


@pytest.fixture
def workload(plan):
    """Return the StatefulSet as planned, with every replica ready; keywords change its status."""

    def make(raw, **changes):
        made = copy.deepcopy(plan(raw, nodes=(CLAIMED,)).stateful_set)
        made["metadata"] |= {"generation": 2, "uid": "s"}
        replicas = made["spec"]["replicas"]
        made["status"] = {"observedGeneration": 2, "updatedReplicas": replicas, "readyReplicas": replicas, **changes}
        return made

    return make


def test_a_new_workspace_waits_for_its_claims(project):
    """Right after apply everything is pending, and the number of nodes is known."""
    found = project(workspace())
    assert {
        "NodeClaimReady": ("False", "NodeClaimNotReady"),
        "NodesReady": ("False", "NodeNotReady"),
        "ResourceReady": ("False", "NodeClaimNotReady"),
        "InferenceReady": ("False", "WorkspaceInferenceStatusPending"),
        "WorkspaceSucceeded": ("False", "workspacePending"),
        "SpecHonored": ("True", "SpecHonored"),
    } == conditions(found)
    assert ("Pending", 1, []) == (found["state"], found["targetNodeCount"], found["workerNodes"])
    assert {1} == {item["observedGeneration"] for item in found["conditions"]}


def test_the_claims_own_reason_is_passed_on(project):
    """What the machine waits for is read on the Workspace."""
    waiting = node_claim("ws0", stages={"Launched": ("False", "InsufficientCapacity", "2 of 2 nodes are in use")})
    found = project(workspace(), node_claims=(waiting,))
    assert ("False", "InsufficientCapacity") == conditions(found)["ResourceReady"]
    assert "NodeClaim ws0: 2 of 2 nodes are in use" == message(found, "NodeClaimReady")


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (node("node-1", ready=False), "NodeNotReady"),
        (node("node-1", gpus=0), "NodePluginsNotReady"),
        (node("node-1", instance_type="another"), "NodeNotReady"),
    ],
)
def test_a_ready_claim_is_not_yet_a_ready_node(project, one, reason):
    """The node must be Ready, of the type asked for, and show its GPUs."""
    found = project(workspace(), node_claims=(READY_CLAIM,), nodes=(one,))
    assert ("True", "NodeClaimsReady") == conditions(found)["NodeClaimReady"]
    assert ("False", reason) == conditions(found)["NodesReady"] == conditions(found)["ResourceReady"]


def test_ready(project, workload):
    """With claims, nodes and every replica ready, the Workspace is Ready."""
    found = project(workspace(), node_claims=(READY_CLAIM,), nodes=(CLAIMED,), stateful_set=workload(workspace()))
    assert {"True"} == {item[0] for item in conditions(found).values()}
    assert ("Ready", ["node-1"]) == (found["state"], found["workerNodes"])
    assert "workspaceSucceeded" == conditions(found)["WorkspaceSucceeded"][1]


@pytest.mark.parametrize(
    "change",
    [{"observedGeneration": 1}, {"updatedReplicas": 0}, {"readyReplicas": 0}],
)
def test_a_rollout_is_not_ready(project, workload, change):
    """Old pods that answer do not make a changed Workspace ready."""
    before = workspace(status={"state": "Ready", "conditions": []})
    found = project(before, node_claims=(READY_CLAIM,), nodes=(CLAIMED,), stateful_set=workload(before, **change))
    assert ("False", "WorkspaceInferenceStatusPending") == conditions(found)["InferenceReady"]
    assert "NotReady" == found["state"]


def test_a_workload_of_an_older_spec_is_not_ready(project, workload):
    """Before the new template is even written, the old pods do not count."""
    old = workload(workspace())
    newer = workspace(metadata={"annotations": {keys.PERFORMANCE_MODE: "throughput"}})
    found = project(newer, node_claims=(READY_CLAIM,), nodes=(CLAIMED,), stateful_set=old)
    assert ("False", "WorkspaceInferenceStatusPending") == conditions(found)["InferenceReady"]


def test_a_pods_trouble_is_the_reason(project, workload):
    """An image that cannot be pulled shows on the Workspace."""
    stuck = pod(containers=[{"name": "demo", "state": {"waiting": {"reason": "ErrImagePull", "message": "denied"}}}])
    found = project(
        workspace(),
        node_claims=(READY_CLAIM,),
        nodes=(CLAIMED,),
        stateful_set=workload(workspace(), readyReplicas=0),
        pods=(stuck,),
    )
    assert ("False", "ImagePullError") == conditions(found)["InferenceReady"]
    assert "denied" in message(found, "WorkspaceSucceeded")


def test_existing_nodes(project):
    """On existing nodes there is no NodeClaim condition, one left from before goes, and only nodes with pods work."""
    labels = {**SELECTOR, **gpu_labels()}
    old = {
        "type": "NodeClaimReady",
        "status": "True",
        "reason": "NodeClaimsReady",
        "message": "",
        "lastTransitionTime": "2026-11-22T11:00:00Z",
    }
    found = project(
        workspace(instance_type="", status={"conditions": [old]}),
        nodes=(node("a", labels=labels), node("b", labels=labels)),
        pods=(pod(node_name="b"),),
    )
    assert "NodeClaimReady" not in conditions(found)
    assert ("True", "workspaceResourceStatusSuccess") == conditions(found)["ResourceReady"]
    assert ["b"] == found["workerNodes"]


def test_existing_nodes_that_are_not_ready(project):
    """Matching nodes that are down are told as KAITO tells it."""
    found = project(workspace(instance_type=""), nodes=(node(ready=False),))
    assert ("False", "workspaceResourceStatusNotReady") == conditions(found)["ResourceReady"]


def test_pressure_on_a_node_is_a_warning(project):
    """A node under pressure still counts, and is named."""
    found = project(workspace(), node_claims=(READY_CLAIM,), nodes=(node("node-1", pressures=["DiskPressure"]),))
    said = "Enough Nodes are ready; warning: worker node(s) under resource pressure: node-1 (DiskPressure)"
    assert said == message(found, "NodesReady")


def test_what_blocks_stands_on_every_condition_it_blocks(project):
    """An unknown preset is read wherever a user waits."""
    found = project(workspace(preset="phi-9"))
    assert {
        "ResourceReady": ("False", "UnknownPreset"),
        "InferenceReady": ("False", "UnknownPreset"),
        "WorkspaceSucceeded": ("False", "workspaceFailed"),
        "SpecHonored": ("True", "SpecHonored"),
    } == conditions(found)
    assert "Pending" == found["state"]


def test_a_missing_config_map_blocks_until_it_comes(project):
    """A ConfigMap that does not exist is named."""
    found = project(workspace(inference={"preset": {"name": "phi-4-mini-instruct"}, "config": "mine"}))
    assert ("False", "ConfigMapNotFound") == conditions(found)["InferenceReady"]


def test_no_matching_node_is_waited_for(project):
    """Existing nodes may be labelled later, so this is pending and not failed."""
    found = project(workspace(instance_type=""))
    assert ("False", "NodeNotReady") == conditions(found)["NodesReady"]
    assert ("False", "workspacePending") == conditions(found)["WorkspaceSucceeded"]


def test_fields_without_effect_are_listed(project):
    """A field that nothing acts on yet is named, and the rest of the Workspace works."""
    preset = {"name": "phi-4-mini-instruct", "accessMode": "private"}
    found = project(workspace(inference={"preset": preset}))
    assert ("False", "FieldsNotImplemented") == conditions(found)["SpecHonored"]
    assert "inference.preset.accessMode" in message(found, "SpecHonored")
    assert ("False", "NodeClaimNotReady") == conditions(found)["ResourceReady"]


@pytest.mark.parametrize(
    ("step", "reason", "kind"),
    [
        ("node_claims", Reason.NODE_CLAIM_CREATION_FAILED, "NodeClaimReady"),
        ("service", Reason.WORKLOAD_CONFLICT, "InferenceReady"),
        ("inference", Reason.WORKLOAD_REFUSED, "InferenceReady"),
    ],
)
def test_what_the_server_refuses_stands_on_the_steps_condition(project, step, reason, kind):
    """A refusal is read where the step's work would be."""
    outcome = Outcome(steps={step: StepResult(refusal=Blocked(reason=reason, message="no"))})
    found = project(workspace(), outcome=outcome)
    assert ("False", reason) == conditions(found)[kind]


def test_nothing_changes_when_nothing_changes(project):
    """The same state projected again is the same status, so nothing is written."""
    first = project(workspace())
    assert {} == status.changed(first, project(workspace(status=first)))


def test_fields_of_others_are_kept(project):
    """A measured performance stays."""
    performance = {"metrics": {"peakTokensPerMinute": {"description": "d", "value": "1"}}}
    assert performance == project(workspace(status={"performance": performance}))["performance"]


def test_the_story_in_events(project, workload):
    """Each turn of the status is told once, troubles as warnings, waiting not at all."""
    new = workspace()
    pending = {**new, "status": project(new)}
    assert [] == told(new, pending)
    provided = {
        **new,
        "status": project(pending, node_claims=(READY_CLAIM,), nodes=(CLAIMED,)),
    }
    assert [("Normal", "NodeClaimsReady"), ("Normal", "NodesReady")] == told(pending, provided)
    serving = {
        **new,
        "status": project(provided, node_claims=(READY_CLAIM,), nodes=(CLAIMED,), stateful_set=workload(new)),
    }
    assert [("Normal", "WorkspaceInferenceStatusSuccess"), ("Normal", "WorkspaceReady")] == told(provided, serving)
    assert [] == told(serving, serving)
    lost = {**new, "status": project(serving, node_claims=(READY_CLAIM,), stateful_set=workload(new))}
    assert [("Warning", "NodeNotReady"), ("Warning", "WorkspaceNotReady")] == told(serving, lost)


def test_a_trouble_is_told_once_for_all_conditions_that_carry_it(project):
    """An unknown preset makes one warning, not three."""
    new = workspace(preset="phi-9")
    assert [("Warning", "UnknownPreset")] == told(new, {**new, "status": project(new)})


def test_a_failed_step_is_told_but_a_lost_race_is_not():
    """A server error is a warning with the server's words; a conflict is everyday and a refusal has its condition."""
    steps = {
        "revision": StepResult(error=ApiError(409, "Conflict", "the object has been modified")),
        "service": StepResult(
            refusal=Blocked(reason=Reason.WORKLOAD_REFUSED, message="no"), error=ApiError(403, "Forbidden")
        ),
        "inference": StepResult(error=ApiError(500, "InternalError", "etcd is away")),
    }
    (notice,) = events.failures_in(Outcome(steps=steps))
    assert (Reason.RECONCILE_FAILED, True) == (notice.reason, notice.warning)
    assert "Step inference failed and is tried again: 500 InternalError: etcd is away" == notice.note


def test_deletion_keeps_the_state(project):
    """A Workspace that is going says so and keeps what it was."""
    from datetime import UTC, datetime

    before = workspace(status={**project(workspace()), "state": "Ready"})
    after = status.project_deletion(before, now=datetime(2026, 11, 22, tzinfo=UTC))
    assert ("True", "workspaceDeleted") == conditions(after)["WorkspaceDeleting"]
    assert "Ready" == after["state"]
    assert [("Normal", "workspaceDeleted")] == told(before, {**before, "status": after})


def told(before, after):
    """Return the events as type and reason."""
    return [("Warning" if one.warning else "Normal", one.reason) for one in events.told_by(before, after)]


def test_the_builders_nodes_are_of_the_asked_type():
    """The defaults of the builders go together."""
    assert INSTANCE_TYPE == node()["metadata"]["labels"][keys.INSTANCE_TYPE]
