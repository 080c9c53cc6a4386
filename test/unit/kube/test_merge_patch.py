"""Merge patches: applied to the one version they make the other, and nothing more is in them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito_controller.kube.merge_patch import merge_patch, same

SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a", "b"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


def applied(target: Any, patch: Any) -> Any:
    """The algorithm of RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = applied(result.get(name), value)
    return result


@pytest.mark.scenario("PT4")
@given(OBJECTS, OBJECTS)
def test_a_patch_turns_one_version_into_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    """As far as merge patches can say it: null is absent."""
    assert same(applied(before, merge_patch(before, after)), after)


@pytest.mark.scenario("PT4")
@given(OBJECTS)
def test_no_difference_is_an_empty_patch(obj: dict[str, Any]) -> None:
    """An object patched into itself is not written."""
    assert merge_patch(obj, obj) == {}


@pytest.mark.scenario("PT4")
@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, {"a": [1, 2, 3]}),
        ({"a": [{"n": 1, "m": 2}]}, {"a": [{"n": 1}]}, {"a": [{"n": 1}]}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a": {"c": None}}),
        ({"a": {"b": 1}}, {}, {"a": None}),
        ({"a": {"b": 1}}, {"a": {}}, {"a": {"b": None}}),
        ({}, {"emptyDir": {}}, {"emptyDir": {}}),
        ({"a": []}, {}, {}),
        ({"a": None}, {}, {}),
        ({"a": True}, {"a": 1}, {"a": 1}),
        ({"a": 1}, {"a": {"b": {"c": None}}}, {"a": {"b": {}}}),
    ],
)
def test_the_patch_is_the_smallest(before: dict[str, Any], after: dict[str, Any], patch: dict[str, Any]) -> None:
    """Lists are replaced whole, removed fields are null, and what is equally absent is no change."""
    assert merge_patch(before, after) == patch
