"""What registration and initialization decide, and what the conditions say of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from attrs import evolve

from kaito_controller.api import labels as keys
from kaito_controller.api.conditions import ConditionType
from kaito_controller.api.nodeclaim import (
    NodeClaim,
    NodeClaimSpec,
    NodeClaimStatus,
    NodeClassReference,
    ResourceRequirements,
    Taint,
)
from kaito_controller.controllers.nodeclaim import conditions
from kaito_controller.controllers.nodeclaim.lifecycle.initialization import initialize, missing_resources
from kaito_controller.controllers.nodeclaim.lifecycle.registration import adoption, register
from kaito_controller.kube.conditions import find
from kaito_controller.kube.object_meta import ObjectMeta

CREATED = "2026-11-22T12:00:00Z"
NOW = datetime(2026, 11, 22, 12, 1, 0, tzinfo=UTC)
CLAIM = NodeClaim(
    metadata=ObjectMeta(
        name="ws1",
        uid="claim-uid",
        generation=1,
        creation_timestamp=CREATED,
        labels={"team": "blue", keys.HOSTNAME: "not-yours"},
        annotations={"kubectl.kubernetes.io/last-applied-configuration": "{}", keys.DO_NOT_DISRUPT: "true"},
    ),
    spec=NodeClaimSpec(
        node_class_ref=NodeClassReference(group="kaito.sh", kind="KaitoNodeClass", name="default"),
        taints=(Taint(key="sku", value="gpu", effect="NoSchedule"),),
        startup_taints=(Taint(key="warm", effect="NoSchedule"),),
        resources=ResourceRequirements(requests={"nvidia.com/gpu": "1", "storage": "100Gi"}),
    ),
    status=NodeClaimStatus(provider_id="fake://ws1", node_name="ws1"),
)
UNREGISTERED = {"key": keys.TAINT_UNREGISTERED, "effect": "NoExecute"}
SKU = {"key": "sku", "value": "gpu", "effect": "NoSchedule"}


def node(*, taints=(UNREGISTERED,), labels=None, ready="True", gpu="1", **head):
    return {
        "metadata": {"name": "ws1", "uid": "node-uid", "resourceVersion": "7", "labels": labels or {}, **head},
        "spec": {"providerID": "fake://ws1", "taints": list(taints)},
        "status": {
            "conditions": [{"type": "Ready", "status": ready, "message": "disk is slow"}],
            "allocatable": {"nvidia.com/gpu": gpu, "cpu": "8"},
        },
    }


def test_a_joining_node_is_adopted_in_one_patch():
    """Finalizer, owner, labels, annotations and taints come on and the unregistered taint goes, guarded by version."""
    patch = adoption(CLAIM, node(finalizers=["other"]))
    assert patch == {
        "metadata": {
            "resourceVersion": "7",
            "finalizers": ["other", keys.TERMINATION_FINALIZER],
            "ownerReferences": [
                {
                    "apiVersion": "karpenter.sh/v1",
                    "kind": "NodeClaim",
                    "name": "ws1",
                    "uid": "claim-uid",
                    "blockOwnerDeletion": True,
                }
            ],
            "labels": {"team": "blue", "kaito.sh/kaitonodeclass": "default", keys.NODE_REGISTERED: "true"},
            "annotations": {keys.DO_NOT_DISRUPT: "true"},
        },
        "spec": {"taints": [SKU, {"key": "warm", "effect": "NoSchedule"}]},
    }


def test_an_adopted_node_needs_nothing():
    """After the patch nothing is left to write, also when its start-up taints have been removed since."""
    first = adoption(CLAIM, node())
    adopted = node(
        taints=[SKU],
        labels=first["metadata"]["labels"],
        annotations=first["metadata"]["annotations"],
        finalizers=first["metadata"]["finalizers"],
        ownerReferences=first["metadata"]["ownerReferences"],
    )
    assert adoption(CLAIM, adopted) == {}


def test_taints_are_not_synced_when_the_node_says_so():
    """The label do-not-sync-taints keeps the claim's taints off; the unregistered taint goes all the same."""
    patch = adoption(CLAIM, node(labels={keys.DO_NOT_SYNC_TAINTS: "true"}))
    assert patch["spec"] == {"taints": []}


@pytest.mark.parametrize(
    ("nodes", "status", "reason"),
    [
        ([], "Unknown", "NodeNotFound"),
        ([node(deletionTimestamp=CREATED)], "Unknown", "NodeNotFound"),
        ([node(), node()], "False", "MultipleNodesFound"),
        ([node()], "True", "Registered"),
    ],
    ids=["none", "leaving", "two", "one"],
)
def test_registration_depends_on_the_nodes(nodes, status, reason):
    """No Node is waited for, one is adopted, several are a fault that waiting does not mend."""
    condition = register(CLAIM, nodes).condition
    assert (condition.status, condition.reason) == (status, reason)


def test_a_missing_unregistered_taint_is_noticed():
    """A machine that joins without the taint works, but its maker should know."""
    assert register(CLAIM, [node(taints=[])]).taint_was_missing
    assert not register(CLAIM, [node()]).taint_was_missing


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "NodeNotFound"),
        (node(ready="False", taints=()), "NodeNotReady"),
        (node(taints=[{"key": "warm", "effect": "NoSchedule"}]), "StartupTaintsExist"),
        (node(taints=[{"key": keys.TAINT_NOT_READY, "effect": "NoExecute"}]), "KnownEphemeralTaintsExist"),
        (node(taints=[{"key": "readiness.k8s.io/gpu", "effect": "NoSchedule"}]), "KnownEphemeralTaintsExist"),
        (node(taints=[UNREGISTERED]), "KnownEphemeralTaintsExist"),
        (node(taints=[SKU], gpu="0"), "ResourceNotRegistered"),
    ],
)
def test_a_node_that_is_not_fit_is_waited_for(found, reason):
    """Each thing that is missing has its reason, in the order in which they come right."""
    condition = initialize(CLAIM, found).condition
    assert (condition.status, condition.reason) == ("Unknown", reason)


def test_a_fit_node_is_labelled_once():
    """A Node that shows everything is labelled as initialized, and not again."""
    fit = initialize(CLAIM, node(taints=[SKU]))
    assert (fit.condition.status, fit.patch) == ("True", {"metadata": {"labels": {keys.NODE_INITIALIZED: "true"}}})
    assert initialize(CLAIM, node(taints=[SKU], labels={keys.NODE_INITIALIZED: "true"})).patch == {}


def test_a_promised_gpu_is_owed_even_when_not_requested():
    """KAITO's claims request storage only: the GPU that the cloud promised is waited for, the storage is not."""
    spec = evolve(CLAIM.spec, resources=ResourceRequirements(requests={"storage": "1Ti"}))
    status = evolve(CLAIM.status, capacity={"nvidia.com/gpu": "1", "cpu": "8", "hugepages-2Mi": "0"})
    claim = evolve(CLAIM, spec=spec, status=status)
    assert missing_resources(claim, node(gpu="0")) == ("nvidia.com/gpu",)
    assert missing_resources(claim, node(gpu="1")) == ()


def test_steps_start_unknown_since_creation():
    """Missing steps are seeded as of the claim's creation, and Ready names what it waits for."""
    seeded = conditions.updated(conditions.of(CLAIM), (), generation=1, now=NOW)
    assert [(one.type, one.status, one.reason) for one in seeded] == [
        ("Launched", "Unknown", "AwaitingReconciliation"),
        ("Registered", "Unknown", "AwaitingReconciliation"),
        ("Initialized", "Unknown", "AwaitingReconciliation"),
        ("Ready", "Unknown", "ReconcilingDependents"),
    ]
    assert {one.last_transition_time for one in seeded[:3]} == {CREATED}
    assert seeded[3].message == "Launched=Unknown, Registered=Unknown, Initialized=Unknown"


def test_ready_is_the_sum_of_the_steps():
    """True when all are, False when one is; flipping stamps the time, staying keeps it."""
    seeded = conditions.of(CLAIM)
    failed = conditions.fails(ConditionType.LAUNCHED, "InsufficientCapacityError", "full")
    down = conditions.updated(seeded, [failed], generation=1, now=NOW)
    assert find(down, "Ready").status == "False"
    assert find(down, "Launched").last_transition_time == "2026-11-22T12:01:00Z"
    up = conditions.updated(down, [conditions.holds(step) for step in conditions.STEPS], generation=1, now=NOW)
    assert (find(up, "Ready").status, find(up, "Ready").observed_generation) == ("True", 1)


def test_a_long_message_is_cut():
    """Clouds answer with pages; a condition keeps the first of it."""
    assert len(conditions.unknown(ConditionType.LAUNCHED, "LaunchFailed", "x" * 9000).message) == 1024
