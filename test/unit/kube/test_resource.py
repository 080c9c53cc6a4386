from __future__ import annotations

import pytest

from kaito_controller.kube import metadata, ownership
from kaito_controller.kube.core import NODES, PODS, STATEFUL_SETS
from kaito_controller.kube.rbac import READ, Rule, policy_rules


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (PODS.path(), "/api/v1/pods"),
        (PODS.path("ns"), "/api/v1/namespaces/ns/pods"),
        (NODES.path(name="n", subresource="status"), "/api/v1/nodes/n/status"),
        (STATEFUL_SETS.path("ns", "x", "status"), "/apis/apps/v1/namespaces/ns/statefulsets/x/status"),
    ],
)
def test_a_path_is_where_the_api_server_serves_it(path, expected):
    """Core and named groups, collections, objects and subresources."""
    assert expected == path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: NODES.path("ns", "n"), "cluster-scoped"),
        (lambda: PODS.path(name="p"), "its namespace must be given"),
        (lambda: PODS.path("ns", subresource="status"), "needs the object's name"),
    ],
)
def test_a_path_that_cannot_be_is_refused(make, says):
    """A wrong path would be a 404 or, worse, another object."""
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize("obj", [{}, {"metadata": None}, {"metadata": {"labels": None, "finalizers": None}}])
def test_absent_and_null_metadata_read_as_empty(obj):
    """An object may lack anything."""
    assert (metadata.key(obj), metadata.uid(obj), metadata.generation(obj)) == ("", "", 0)
    assert not metadata.labels(obj)
    assert not metadata.finalizers(obj)
    assert not metadata.is_deleting(obj)
    assert metadata.controller_of(obj) is None


@pytest.mark.parametrize(("key", "parts"), [("ns/x", ("ns", "x")), ("x", ("", "x"))])
def test_a_key_splits_into_what_made_it(key, parts):
    """Namespaced and cluster-scoped."""
    namespace, name = parts
    assert parts == metadata.split_key(key)
    assert key == metadata.key({"metadata": {"name": name, "namespace": namespace}})


def test_ownership_is_by_uid_not_by_name():
    """An owner that was deleted and made anew under its name owns nothing of the old one's."""
    owner = {"metadata": {"name": "w", "namespace": "ns", "uid": "1"}}
    child = {"metadata": {"ownerReferences": [ownership.owner_reference(STATEFUL_SETS, owner)]}}
    assert ownership.is_controlled_by(child, owner)
    assert not ownership.is_controlled_by(child, {"metadata": {"name": "w", "namespace": "ns", "uid": "2"}})


def test_an_owner_without_uid_is_refused():
    """The garbage collector would delete the child at once."""
    with pytest.raises(ValueError, match=r"metadata\.uid of StatefulSet 'w'"):
        ownership.owner_reference(STATEFUL_SETS, {"metadata": {"name": "w"}})


def test_policy_rules_join_verbs_of_equal_targets_in_a_stable_order():
    """Two declarations of one target make one rule; the order of declaring does not matter."""
    rules = [
        Rule(resource=PODS, verbs=("delete",)),
        Rule(resource=NODES, verbs=READ),
        Rule(resource=PODS, verbs=READ),
        Rule(resource=PODS, subresource="eviction", verbs=("create",)),
    ]
    expected = [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "delete"]},
        {"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"]},
    ]
    assert expected == policy_rules(rules) == policy_rules(reversed(rules))


@pytest.mark.parametrize("verbs", [(), ("*",), ("read",)])
def test_a_rule_names_its_verbs(verbs):
    """No wildcard reaches the manifests."""
    with pytest.raises(ValueError, match="verbs: expected some of"):
        Rule(resource=PODS, verbs=verbs)
