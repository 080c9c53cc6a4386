from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from attrs import field, frozen

from kaito_controller.kube.declaration import schema
from kaito_controller.kube.serde import SerdeError, structure, unstructure


@frozen(kw_only=True)
class Part:
    part_name: str
    weight: float = 1.0


@frozen(kw_only=True)
class Thing:
    count: int
    is_new: bool = False
    provider_id: str = field(default="", metadata=schema("", wire="providerID"))
    kept: str = field(default="x", metadata=schema("", always=True))
    parts: tuple[Part, ...] = ()
    by_name: Mapping[str, Part] = field(factory=dict)
    amounts: Mapping[str, str | int] = field(factory=dict)
    one: Part | None = None
    free: Mapping[str, Any] | None = None


def test_names_are_camel_case_unless_declared():
    """Defaults stay out, except of what is always written."""
    thing = Thing(count=1, provider_id="p", parts=(Part(part_name="a"),))
    assert unstructure(thing) == {"count": 1, "providerID": "p", "kept": "x", "parts": [{"partName": "a"}]}


def test_unknown_fields_are_ignored_and_null_is_absent():
    """A newer API server, or a client that writes null, must not stop the loop."""
    assert Thing(count=1) == structure(Thing, {"count": 1, "future": {}, "parts": None, "one": None, "kept": None})


def test_schemaless_content_is_passed_through():
    """What has no schema comes back as it was."""
    free = {"a": [1, {"b": None}], "camelCase": "kept", "snake_case": "kept"}
    assert unstructure(structure(Thing, {"count": 1, "free": free}))["free"] == free


@pytest.mark.parametrize(
    ("obj", "path", "rule", "found"),
    [
        ({}, "count", "required", "nothing"),
        ({"count": "1"}, "count", "must be an integer", "'1'"),
        ({"count": True}, "count", "must be an integer", "True"),
        ({"count": 1.5}, "count", "must be an integer", "1.5"),
        ({"count": 1, "isNew": "yes"}, "isNew", "must be true or false", "'yes'"),
        ({"count": 1, "providerID": 7}, "providerID", "must be a string", "7"),
        ({"count": 1, "parts": "ab"}, "parts", "must be a list", "'ab'"),
        ({"count": 1, "parts": [{"partName": "a"}, {}]}, "parts[1].partName", "required", "nothing"),
        ({"count": 1, "parts": [3]}, "parts[0]", "must be an object", "3"),
        ({"count": 1, "byName": {"k": {"partName": []}}}, "byName['k'].partName", "must be a string", "[]"),
        ({"count": 1, "amounts": {"gpu": 1.5}}, "amounts['gpu']", "must be a string or an integer", "1.5"),
        ({"count": 1, "one": {"partName": "a", "weight": "b"}}, "one.weight", "must be a number", "'b'"),
        ({"count": 1, "one": "a"}, "one", "must be an object", "'a'"),
        ({"count": 1, "free": []}, "free", "must be an object", "[]"),
        ([], "", "must be an object", "[]"),
    ],
)
def test_a_misfit_names_field_rule_and_what_was_found(obj, path, rule, found):
    """However deep it sits; the loop reports it and goes on."""
    with pytest.raises(SerdeError) as refused:
        structure(Thing, obj)
    assert (path, rule, found) == (refused.value.path, refused.value.rule, refused.value.found)
    assert str(refused.value) == f"{path or 'object'}: {rule}; found {found}"


def test_what_was_found_is_shortened():
    """An error message is no place for a megabyte."""
    with pytest.raises(SerdeError) as refused:
        structure(Thing, {"count": "x" * 1000})
    assert len(refused.value.found) < 200
