from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaito_controller.api.nodeclaim import NodeClaim
from kaito_controller.api.workspace import Workspace
from kaito_controller.kube.serde import structure, unstructure

WORDS = st.text(alphabet="abcxyz-./019", max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Every value that a type of the API can hold, at its default as often as not."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in (str, int, bool, float):
        numbers = st.floats(allow_nan=False, allow_infinity=False)
        return {str: WORDS, int: st.integers(), bool: st.booleans(), float: numbers}[kind]
    if kind is Any:
        return JSON
    if origin in (Union, types.UnionType):
        return st.one_of([st.none() if one is type(None) else values_of(one) for one in arguments])
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=2).map(tuple)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return st.dictionaries(WORDS, values_of(arguments[1]), max_size=2)
    return instances_of(kind)


def instances_of(cls: type[Any]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(cls)
    fields = {field.name: values_of(hints[field.name]) for field in attrs.fields(cls)}
    required = {name: fields[name] for name in fields if attrs.fields_dict(cls)[name].default is attrs.NOTHING}
    optional = {name: fields[name] for name in fields if name not in required}
    return st.fixed_dictionaries(required, optional=optional).map(lambda chosen: cls(**chosen))


@pytest.mark.parametrize("cls", [Workspace, NodeClaim])
def test_an_object_survives_the_way_to_json_and_back(cls):
    """structure(unstructure(x)) == x for every field of every type, set or not."""

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(instances_of(cls))
    def survives(instance):
        assert instance == structure(cls, unstructure(instance))

    survives()


@pytest.mark.parametrize("cls", [Workspace, NodeClaim])
def test_what_is_read_is_not_what_was_given(cls):
    """A typed object shares no list or map with the store's object, so nobody changes the store through it."""
    given_object = {
        "metadata": {"name": "x", "labels": {"a": "1"}, "finalizers": ["f"]},
        "spec": {"nodeClassRef": {"group": "g", "kind": "k", "name": "n"}, "requirements": []},
    }
    made = structure(cls, given_object)
    assert made.metadata.labels == given_object["metadata"]["labels"]
    assert made.metadata.labels is not given_object["metadata"]["labels"]


def test_a_node_claim_is_never_written_without_expire_after():
    """Left out, the API server would default it to 720h and an expiration controller would end the GPU node."""
    claim = structure(NodeClaim, {"spec": {"nodeClassRef": {"group": "g", "kind": "k", "name": "n"}}})
    assert unstructure(claim)["spec"]["expireAfter"] == "Never"
    assert unstructure(claim)["spec"]["requirements"] == []
