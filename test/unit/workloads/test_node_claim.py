"""The NodeClaims of a Workspace."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito_controller.api.nodeclaim import NodeClaim
from kaito_controller.api.workspace import Workspace
from kaito_controller.catalog.loader import Catalog
from kaito_controller.kube import serde
from kaito_controller.kube.object_meta import ObjectMeta
from kaito_controller.workloads.node_claim import claim_name, node_claim

MakeWorkspace = Callable[..., Workspace]
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=63)


def identity(name: str, namespace: str, uid: str) -> Workspace:
    return Workspace(metadata=ObjectMeta(name=name, namespace=namespace, uid=uid))


@given(name=names, namespace=names, uid=st.uuids(), index=st.integers(0, 1000))
def test_names_are_short_and_the_same_each_time(name: str, namespace: str, uid: object, index: int):
    """`ws` and nine hex digits, so that an agent pool of Azure can bear it; the same input, the same name."""
    made = claim_name(identity(name, namespace, str(uid)), index)

    assert made == claim_name(identity(name, namespace, str(uid)), index)
    assert made[:2] == "ws"
    assert len(made) == 11
    assert set(made[2:]) <= set("0123456789abcdef")


def test_another_index_or_another_life_is_another_name():
    """A second node, and a Workspace created again under its old name, get NodeClaims of their own."""
    made = {claim_name(identity("chat", "team", uid), index) for uid in ("a", "b") for index in (0, 1)}

    assert len(made) == 4


def test_the_claim_says_whose_it_is_and_asks_for_the_gpus(catalog: Catalog, workspace: MakeWorkspace):
    """Labels carry the owner, requests the GPUs and the disk; the claim has no owner reference and never expires."""
    claim = node_claim(workspace(), 0, sku=catalog.sku("Standard_NC48ads_A100_v4"), storage_bytes=87 * 1024**3)

    assert claim["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "kaito-controller",
        "apps": "chat",
        "kaito.sh/workspace": "chat",
        "kaito.sh/workspace-uid": "0e5c-11",
        "kaito.sh/workspacenamespace": "team",
        "karpenter.sh/nodepool": "kaito",
    }
    assert claim["metadata"]["annotations"] == {
        "karpenter.sh/do-not-disrupt": "true",
        "kaito.sh/node-image-family": "ubuntu",
    }
    assert "ownerReferences" not in claim["metadata"]
    assert claim["spec"] == {
        "nodeClassRef": {"group": "kaito.sh", "kind": "KaitoNodeClass", "name": "default"},
        "requirements": [
            {"key": "karpenter.sh/nodepool", "operator": "In", "values": ["kaito"]},
            {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["Standard_NC48ads_A100_v4"]},
            {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
            {"key": "karpenter.azure.com/sku-name", "operator": "In", "values": ["Standard_NC48ads_A100_v4"]},
        ],
        "resources": {"requests": {"nvidia.com/gpu": "2", "storage": "87Gi"}},
        "taints": [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}],
        "expireAfter": "Never",
    }


def test_the_claim_is_what_our_own_type_reads(catalog: Catalog, workspace: MakeWorkspace):
    """The object survives the door to the typed NodeClaim."""
    claim = serde.structure(NodeClaim, node_claim(workspace(), 3, sku=catalog.sku("p4d.24xlarge")))

    assert claim.spec.expire_after == "Never"
    assert claim.spec.requirements[-1].key == "karpenter.k8s.aws/instance-gpu-count"


def test_a_reserved_key_is_not_taken_from_the_user(catalog: Catalog, workspace: MakeWorkspace):
    """A user cannot label nodes as another Workspace's."""
    selector = {"matchLabels": {"kaito.sh/workspace": "theirs", "zone": "a"}}
    made = node_claim(workspace(resource={"labelSelector": selector}), 0, sku=catalog.sku("p4d.24xlarge"))

    assert made["metadata"]["labels"]["kaito.sh/workspace"] == "chat"
    assert made["metadata"]["labels"]["zone"] == "a"


def test_a_new_node_matches_the_expressions_too(catalog: Catalog, workspace: MakeWorkspace):
    """Every matchExpression that a label can meet is met by the labels of the node."""
    made = workspace(
        resource={
            "labelSelector": {
                "matchExpressions": [
                    {"key": "tier", "operator": "In", "values": ["gold", "silver"]},
                    {"key": "team-owned", "operator": "Exists"},
                    {"key": "retired", "operator": "DoesNotExist"},
                ]
            }
        }
    )
    labels = node_claim(made, 0, sku=catalog.sku("p4d.24xlarge"))["metadata"]["labels"]

    assert made.resource.label_selector.matches(labels)


def test_the_image_family_is_the_workspace_s_then_the_operator_s(catalog: Catalog, workspace: MakeWorkspace):
    """The annotation wins over the flag, however it is spelt."""
    sku = catalog.sku("Standard_NC6s_v3")
    own = workspace(metadata={"annotations": {"kaito.sh/node-image-family": " AzureLinux "}})
    families = [
        node_claim(made, 0, sku=sku, image_family="ubuntu")["metadata"]["annotations"]["kaito.sh/node-image-family"]
        for made in (workspace(), own)
    ]

    assert families == ["ubuntu", "azurelinux"]


@pytest.mark.parametrize(
    "expressions",
    [
        [("pool", "In", ["a", "b"]), ("pool", "NotIn", ["a"])],
        [("pool", "In", ["a", "b"]), ("pool", "In", ["c", "b"])],
        [("pool", "Exists", []), ("pool", "NotIn", [""])],
        [("app.kubernetes.io/managed-by", "In", ["Helm"])],
        [("kubernetes.io/os", "In", ["windows", "linux"])],
        [("node.kubernetes.io/instance-type", "In", ["p5.48xlarge", "p4d.24xlarge"])],
        [("kubernetes.io/os", "Exists", []), ("node.kubernetes.io/instance-type", "NotIn", ["p5.48xlarge"])],
    ],
)
def test_a_node_meets_all_requirements_on_one_label(
    catalog: Catalog, workspace: MakeWorkspace, expressions: list[tuple[str, str, list[str]]]
):
    """The value is one that every requirement allows, and what the machine brings by itself is not contradicted."""
    needs = [{"key": key, "operator": operator, "values": values} for key, operator, values in expressions]
    made = workspace(resource={"instanceType": "p4d.24xlarge", "labelSelector": {"matchExpressions": needs}})
    labels = node_claim(made, 0, sku=catalog.sku("p4d.24xlarge"))["metadata"]["labels"]
    brought = {"kubernetes.io/os": "linux", "node.kubernetes.io/instance-type": "p4d.24xlarge"}
    assert made.resource.label_selector.matches({**brought, **labels})
    assert labels.items() & brought.items() == {item for item in labels.items() if item[0] in brought}
