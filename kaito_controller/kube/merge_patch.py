"""JSON merge patches (RFC 7386): what turns one version of an object into another."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The smallest patch from `before` to `after`; empty when they say the same.

    A removed field is null in it and a list is replaced whole, so a field cannot be set to null: that is the same as
    absent here, as it is to the API server.
    """
    patch: dict[str, Any] = {}
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            inner = merge_patch(old, new)
            if inner:
                patch[name] = inner
        elif not same(old, new):
            patch[name] = _without_nulls(new)
    return patch


def same(one: object, other: object) -> bool:
    """Whether two decoded values mean the same to the API server: an absent field, null and an empty list do.

    An empty mapping is something: `emptyDir: {}` is a volume. Quantities are compared as they are written, so `1000m`
    is not `1`; a write between them is one that the server finds to change nothing.
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return all(same(one.get(name), other.get(name)) for name in one.keys() | other.keys())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    if isinstance(one, bool) is not isinstance(other, bool):
        return False
    return _or_none(one) == _or_none(other)


def _or_none(value: object) -> object:
    return None if value == [] else value


def _without_nulls(value: Any) -> Any:
    """A new value of a patch: null inside a mapping would read as a removal, where nothing is to be removed."""
    if not isinstance(value, Mapping):
        return deepcopy(value)
    return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
