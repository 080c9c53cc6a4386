"""Sets of fields, as field managers own them, and their form on the wire (`FieldsV1`).

A field is a path of elements: `f:spec`, `k:{"name":"main"}` for a keyed item, `v:"x"` for an item of a set.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

Path = tuple[str, ...]
Fields = frozenset[Path]

NONE: Fields = frozenset()
_ITSELF = "."


def field(name: str) -> str:
    """The element of a map's entry."""
    return f"f:{name}"


def key(keys: Mapping[str, Any]) -> str:
    """The element of a keyed list's item."""
    return "k:" + json.dumps(keys, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def value(item: Any) -> str:
    """The element of a set's item."""
    return "v:" + json.dumps(item, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def encoded(fields: Iterable[Path]) -> dict[str, Any]:
    """The fields as `FieldsV1`: nested, `.` for an inner node that is itself in the set."""
    paths = sorted(fields)
    inner = {path[:length] for path in paths for length in range(1, len(path))}
    root: dict[str, Any] = {}
    for path in paths:
        node = root
        for element in path:
            node = node.setdefault(element, {})
        if path in inner:
            node[_ITSELF] = {}
    return root


def decoded(tree: Mapping[str, Any]) -> Fields:
    """The fields of a `FieldsV1`."""
    found: set[Path] = set()

    def walk(node: Mapping[str, Any], path: Path) -> None:
        for element, inner in node.items():
            if element == _ITSELF:
                found.add(path)
            elif not inner:
                found.add((*path, element))
            else:
                walk(inner, (*path, element))

    walk(tree, ())
    return frozenset(found)


def below(fields: Iterable[Path], element: str) -> Fields:
    """What of the fields lies inside of an element, as seen from there."""
    return frozenset(path[1:] for path in fields if len(path) > 1 and path[0] == element)


def readable(path: Path) -> str:
    """A field as messages name it: `.spec.ports[name="web"].port`."""
    return "".join(_readable(element) for element in path)


def _readable(element: str) -> str:
    form, _, rest = element.partition(":")
    if form == "f":
        return f".{rest}"
    if form == "v":
        return f"[={rest}]"
    keys = json.loads(rest)
    return "[" + ",".join(f"{name}={json.dumps(part)}" for name, part in keys.items()) + "]"
