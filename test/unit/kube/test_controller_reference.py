"""Who may become whose controller."""

from __future__ import annotations

from typing import Any

import pytest

from kaito_controller.kube.controller_reference import OwnedByAnotherError, set_controller_reference
from kaito_controller.kube.core import NODES, STATEFUL_SETS

pytestmark = pytest.mark.scenario("PT7")
OWNER = {"metadata": {"name": "web", "namespace": "ns", "uid": "u1"}}
REFERENCE = {
    "apiVersion": "apps/v1",
    "kind": "StatefulSet",
    "name": "web",
    "uid": "u1",
    "controller": True,
    "blockOwnerDeletion": True,
}


def owned(*references: dict[str, Any], namespace: str = "ns") -> dict[str, Any]:
    head: dict[str, Any] = {"name": "pod"} | ({"namespace": namespace} if namespace else {})
    return {"metadata": head | ({"ownerReferences": list(references)} if references else {}), "spec": {"a": 1}}


def references(obj: dict[str, Any]) -> list[dict[str, Any]]:
    return obj["metadata"]["ownerReferences"]


def test_the_reference_is_added_behind_the_others() -> None:
    """The rest of the object and other owners stay, what was handed in is not changed, deletion is blocked."""
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u2"}
    before = owned(other)
    after = set_controller_reference(STATEFUL_SETS, OWNER, before)
    assert after == owned(other, REFERENCE)
    assert before == owned(other)
    free = set_controller_reference(STATEFUL_SETS, OWNER, owned(), block_owner_deletion=False)
    assert references(free) == [REFERENCE | {"blockOwnerDeletion": False}]


@pytest.mark.parametrize(
    "present",
    [
        {"apiVersion": "apps/v1beta1"},
        {"uid": "before-it-was-made-again"},
        {"controller": False},
        {"blockOwnerDeletion": False},
    ],
)
def test_a_reference_to_the_same_owner_is_replaced(present: dict[str, Any]) -> None:
    """Same group, kind and name is the same owner, whatever its version or UID."""
    after = set_controller_reference(STATEFUL_SETS, OWNER, owned(REFERENCE | present))
    assert references(after) == [REFERENCE]


@pytest.mark.parametrize(
    "present",
    [{"name": "other"}, {"kind": "Deployment"}, {"apiVersion": "example.com/v1"}, {"apiVersion": "v1"}],
)
def test_another_controller_is_respected(present: dict[str, Any]) -> None:
    """One controller at most; a mere owner of the same difference is no hindrance."""
    with pytest.raises(OwnedByAnotherError, match="one controller at most; found"):
        set_controller_reference(STATEFUL_SETS, OWNER, owned(REFERENCE | present))
    plain = REFERENCE | present | {"controller": False}
    assert references(set_controller_reference(STATEFUL_SETS, OWNER, owned(plain))) == [plain, REFERENCE]


@pytest.mark.parametrize(("namespace", "found"), [("elsewhere", "in namespace 'elsewhere'"), ("", "cluster-scoped")])
def test_an_owner_out_of_reach_is_refused(namespace: str, found: str) -> None:
    """Garbage collection looks for the owner in the object's namespace, and deletes the object when it is not there."""
    with pytest.raises(ValueError, match=f"found one that is {found}"):
        set_controller_reference(STATEFUL_SETS, OWNER, owned(namespace=namespace))


def test_a_cluster_scoped_owner_owns_in_every_namespace() -> None:
    """And cluster-scoped objects too."""
    node = {"metadata": {"name": "n1", "uid": "u9"}}
    for namespace in ("ns", ""):
        after = set_controller_reference(NODES, node, owned(namespace=namespace))
        assert [each["kind"] for each in references(after)] == ["Node"]


def test_an_owner_without_a_uid_owns_nothing() -> None:
    """It was never created."""
    with pytest.raises(ValueError, match="needs the UID"):
        set_controller_reference(STATEFUL_SETS, {"metadata": {"name": "web", "namespace": "ns"}}, owned())
