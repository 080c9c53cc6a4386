"""JSON merge patch (RFC 7396) and JSON patch (RFC 6902)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from kaito_controller.testing.fake import status


def merged(value: Any, patch: Any) -> Any:
    """The value after a merge patch: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    result = dict(value) if isinstance(value, Mapping) else {}
    for key, part in patch.items():
        if part is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), part)
    return result


def patched(value: Any, operations: Any) -> Any:
    """The value after the operations of a JSON patch, all or none.

    Raises:
        RefusalError: 422 when an operation cannot be carried out, 400 when there is no list of them.
    """
    if not isinstance(operations, list) or not all(isinstance(operation, Mapping) for operation in operations):
        raise status.bad_request("error decoding patch: a list of operations is needed")
    document = copy.deepcopy(value)
    for operation in operations:
        try:
            document = _carried_out(document, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise status.unprocessable() from error
    return document


def _carried_out(document: Any, operation: Mapping[str, Any]) -> Any:
    name, path = operation["op"], _pointer(operation["path"])
    match name:
        case "add":
            return _add(document, path, copy.deepcopy(operation["value"]))
        case "remove":
            return _remove(document, path)[0]
        case "replace":
            return _replace(document, path, copy.deepcopy(operation["value"]))
        case "move":
            rest, found = _remove(document, _pointer(operation["from"]))
            return _add(rest, path, found)
        case "copy":
            return _add(document, path, copy.deepcopy(_at(document, _pointer(operation["from"]))))
        case "test":
            if _at(document, path) != operation.get("value"):
                raise ValueError(f"testing value {operation['path']} failed")
            return document
    raise ValueError(f"unknown operation {name!r}")


def _pointer(text: str) -> list[str]:
    if not text:
        return []
    if not text.startswith("/"):
        raise ValueError(f"not a JSON pointer: {text!r}")
    return [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]


def _at(document: Any, path: Sequence[str]) -> Any:
    for part in path:
        document = document[_index(document, part)] if isinstance(document, list) else document[part]
    return document


def _index(items: list[Any], part: str) -> int:
    index = int(part)
    if not 0 <= index < len(items):
        raise IndexError(f"no element {part}")
    return index


def _add(document: Any, path: Sequence[str], value: Any) -> Any:
    if not path:
        return value
    parent, last = _at(document, path[:-1]), path[-1]
    if not isinstance(parent, list):
        parent[last] = value
    elif last == "-":
        parent.append(value)
    else:
        index = int(last)
        if not 0 <= index <= len(parent):
            raise IndexError(f"no element {last}")
        parent.insert(index, value)
    return document


def _replace(document: Any, path: Sequence[str], value: Any) -> Any:
    """In an object, what was not there before is added: a kube-apiserver does not insist."""
    if not path:
        return value
    parent, last = _at(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        parent[_index(parent, last)] = value
    else:
        parent[last] = value
    return document


def _remove(document: Any, path: Sequence[str]) -> tuple[Any, Any]:
    if not path:
        return None, document
    parent, last = _at(document, path[:-1]), path[-1]
    return document, parent.pop(_index(parent, last)) if isinstance(parent, list) else parent.pop(last)
