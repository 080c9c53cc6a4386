"""What is collected, what is ours, and what a taint tolerates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve

from kaito_controller.controllers.nodeclaim import managed, orphan, taints
from kaito_controller.controllers.nodeclaim.garbagecollection.verdict import abandoned, orphaned
from kaito_controller.controllers.nodeclaim.termination.volumes import attachments_to
from kaito_controller.providers.protocol import KAITO_NODE_CLASS, Instance

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
OLD = Instance(
    provider_id="fake://a", name="a", claim_uid="uid-a", claim_name="a", created_at=NOW - timedelta(seconds=31)
)


def claim(name, *, provider_id="", registered=True, deleting=False):
    head = {"name": name, "uid": f"uid-{name}"}
    if deleting:
        head["deletionTimestamp"] = "2026-11-22T11:00:00Z"
    conditions = [{"type": "Registered", "status": "True" if registered else "Unknown"}]
    return {"metadata": head, "status": {"providerID": provider_id, "conditions": conditions}}


def node(status):
    return {"metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": status}]}}


@pytest.mark.parametrize(
    ("instance", "claims", "collected"),
    [
        (OLD, [], True),
        (OLD, [claim("b")], True),
        (OLD, [claim("a")], False),
        (OLD, [claim("a", deleting=True)], False),
        (evolve(OLD, claim_uid="older-uid"), [claim("a")], True),
        (evolve(OLD, claim_uid=""), [claim("b", provider_id="fake://a")], False),
        (evolve(OLD, created_at=NOW - timedelta(seconds=29)), [], False),
        (evolve(OLD, created_at=None), [], False),
        (evolve(OLD, deleting=True), [], False),
    ],
    ids=["alone", "other", "own", "own going", "namesake", "by id", "young", "age unknown", "ending"],
)
def test_which_machines_are_orphans(instance, claims, collected):
    """A machine is an orphan when no claim stands for it by UID or provider ID and it is known to be old enough."""
    assert (orphaned([instance], claims, now=NOW, age_s=30) == [instance]) is collected


@pytest.mark.parametrize(
    ("found", "nodes", "collected"),
    [
        (claim("a", provider_id="fake://gone"), [], True),
        (claim("a", provider_id="fake://gone"), [node("Unknown")], True),
        (claim("a", provider_id="fake://gone"), [node("True")], False),
        (claim("a", provider_id="fake://gone", registered=False), [], False),
        (claim("a", provider_id="fake://gone", deleting=True), [], False),
        (claim("a", provider_id="fake://a"), [], False),
    ],
    ids=["no node", "silent node", "node reports", "never joined", "going", "machine there"],
)
def test_which_claims_are_abandoned(found, nodes, collected):
    """A claim is abandoned when its machine had joined, is not listed any more, and no kubelet reports for it."""
    assert (abandoned([found], [OLD], lambda _: nodes) == [found]) is collected


@pytest.mark.parametrize(
    ("group", "kind", "ours"),
    [
        ("kaito.sh", "KaitoNodeClass", True),
        ("karpenter.azure.com", "AKSNodeClass", False),
        ("kaito.sh", "Other", False),
        ("", "", False),
    ],
)
def test_a_claim_is_ours_by_group_and_kind(group, kind, ours):
    """The class's name does not matter, its group and kind do."""
    found = {"spec": {"nodeClassRef": {"group": group, "kind": kind, "name": "x"}}}
    assert managed.is_managed(found, [KAITO_NODE_CLASS]) is ours


def test_a_node_remembers_its_claim():
    """A Node whose claim is gone still tells the cloud which machine it was."""
    owner = {"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "name": "ws1", "uid": "u1"}
    found = {"metadata": {"name": "n", "ownerReferences": [owner]}, "spec": {"providerID": "fake://ws1"}}
    stand_in = orphan.of_node(found, KAITO_NODE_CLASS)
    assert (stand_in.metadata.name, stand_in.metadata.uid, stand_in.status.provider_id) == ("ws1", "u1", "fake://ws1")


TAINT = {"key": "sku", "value": "gpu", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("toleration", "covers"),
    [
        ({"operator": "Exists"}, True),
        ({"key": "sku", "operator": "Exists"}, True),
        ({"key": "sku", "value": "gpu"}, True),
        ({"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}, True),
        ({"key": "sku", "value": "cpu"}, False),
        ({"key": "sku", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"value": "gpu"}, False),
    ],
)
def test_tolerations_cover_taints_as_the_scheduler_says(toleration, covers):
    """Operator, key, value and effect, with empty meaning any where the API says so."""
    assert taints.tolerates([toleration], TAINT) is covers


def test_taints_are_merged_by_key_and_effect():
    """A taint that is there keeps its value and place; removing names key and effect."""
    there = [{"key": "sku", "value": "mine", "effect": "NoSchedule"}]
    assert taints.merged(there, [TAINT, {"key": "sku", "effect": "NoExecute"}]) == [
        *there,
        {"key": "sku", "effect": "NoExecute"},
    ]
    assert taints.without(there, TAINT) == []
    assert taints.shown(TAINT) == "sku=gpu:NoSchedule"


def test_volumes_attached_to_a_node_are_found():
    """VolumeAttachments of other nodes and of inline volumes do not count."""

    def attachment(node_name, source):
        return {"spec": {"nodeName": node_name, "source": source}}

    found = attachments_to(
        [
            attachment("n", {"persistentVolumeName": "pv1"}),
            attachment("m", {"persistentVolumeName": "pv2"}),
            attachment("n", {"inlineVolumeSpec": {}}),
        ],
        "n",
    )
    assert found == {"pv1"}
