from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from attrs import field, frozen

from kaito_controller.kube import schema as schemas
from kaito_controller.kube.declaration import CelRule, rules, schema


@rules(CelRule("self.size > 0", "size: must be above 0", "self.size == 0 ? 'zero' : 'less'", ".size"))
@frozen(kw_only=True)
class Inner:
    """An inner thing.

    It is told
    over two lines.
    """

    size: int


@frozen(kw_only=True)
class Outer:
    """An outer thing."""

    mode: str = field(metadata=schema("How.", enum=("a", "b")))
    names: tuple[str, ...] = field(default=(), metadata=schema("Who.", max_items=3, item={"max_length": 5}))
    amounts: Mapping[str, str | int] = field(factory=dict, metadata=schema("", item={"pattern": "^x$"}))
    inner: Inner | None = None
    free: Mapping[str, Any] | None = field(default=None, metadata=schema("Anything.", preserve_unknown=True))
    chosen: str = field(default="a", metadata=schema("", default="b"))


def test_a_class_becomes_a_structural_schema():
    """Descriptions, bounds, what is required, rules and defaults, all from the class."""
    assert schemas.of_class(Outer) == {
        "description": "An outer thing.",
        "type": "object",
        "required": ["mode"],
        "properties": {
            "mode": {"description": "How.", "type": "string", "enum": ["a", "b"]},
            "names": {
                "description": "Who.",
                "type": "array",
                "items": {"type": "string", "maxLength": 5},
                "maxItems": 3,
            },
            "amounts": {
                "type": "object",
                "additionalProperties": {
                    "anyOf": [{"type": "integer"}, {"type": "string"}],
                    "x-kubernetes-int-or-string": True,
                    "pattern": "^x$",
                },
            },
            "inner": {
                "description": "An inner thing.\n\nIt is told over two lines.",
                "type": "object",
                "required": ["size"],
                "properties": {"size": {"type": "integer"}},
                "x-kubernetes-validations": [
                    {
                        "rule": "self.size > 0",
                        "message": "size: must be above 0",
                        "messageExpression": "\"size: must be above 0; found \" + (self.size == 0 ? 'zero' : 'less')",
                        "fieldPath": ".size",
                    }
                ],
            },
            "free": {"description": "Anything.", "type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "chosen": {"type": "string", "default": "b"},
        },
    }


@frozen(kw_only=True)
class Odd:
    what: set[str]


def test_a_type_without_a_word_in_the_schema_is_refused():
    """It names class and field."""
    with pytest.raises(schemas.SchemaError, match=r"^Odd\.what: .* has no place in a structural schema"):
        schemas.of_class(Odd)
