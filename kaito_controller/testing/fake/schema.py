"""Structural schemas of custom kinds: unknown fields are dropped, defaults filled in, the rest is checked.

CEL rules are not evaluated: a test of those belongs to a real kube-apiserver.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kaito_controller.kube.metadata import Object
from kaito_controller.testing.fake.status import Cause

Schema = Mapping[str, Any]

_HEAD = ("apiVersion", "kind", "metadata")
_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
_WORDS = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}


def filled(schema: Schema, obj: Object, *, nulls: bool = False) -> Object:
    """The object without unknown fields and with defaults; its metadata as it was.

    What is null and may not be counts as absent, but for `nulls`: a merge that left one behind has to answer for it.
    """
    body = {name: value for name, value in obj.items() if name not in _HEAD}
    head = {name: obj[name] for name in _HEAD if name in obj}
    shaped: Object = _filled(schema, body, nulls=nulls)
    return head | shaped


def _filled(schema: Schema, value: Any, *, nulls: bool) -> Any:
    if isinstance(value, dict):
        return _filled_object(schema, value, nulls=nulls)
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [_filled(schema["items"], item, nulls=nulls) for item in value]
    return value


def _filled_object(schema: Schema, value: Mapping[str, Any], *, nulls: bool) -> Object:
    properties: Mapping[str, Schema] = schema.get("properties") or {}
    others = schema.get("additionalProperties")
    keeps = bool(schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-embedded-resource"))
    result: Object = {}
    for name, part in value.items():
        if name in properties:
            inner = properties[name]
            if part is None and not inner.get("nullable") and ("default" in inner or not nulls):
                continue
            result[name] = _filled(inner, part, nulls=nulls)
        elif isinstance(others, Mapping):
            result[name] = _filled(others, part, nulls=nulls)
        elif keeps or others is True:
            result[name] = part
    for name, inner in properties.items():
        if name not in result and "default" in inner and name not in _HEAD:
            result[name] = _filled(inner, copy.deepcopy(inner["default"]), nulls=nulls)
    return result


def unknown(schema: Schema, value: Any, path: str = "") -> Iterator[str]:
    """The fields that the schema does not know, as `.spec.x`."""
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for item in value:
            yield from unknown(schema["items"], item, path)
    if not isinstance(value, dict) or schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    properties, others = schema.get("properties") or {}, schema.get("additionalProperties")
    for name, part in value.items():
        if not path and name in _HEAD:
            continue
        if name in properties:
            yield from unknown(properties[name], part, f"{path}.{name}")
        elif isinstance(others, Mapping):
            yield from unknown(others, part, f"{path}.{name}")
        elif not others:
            yield f"{path}.{name}"


def mistakes(schema: Schema, obj: Object) -> list[Cause]:
    """What in an object breaks its schema."""
    body = {name: value for name, value in obj.items() if name not in _HEAD}
    required = [name for name in schema.get("required") or () if name not in _HEAD]
    return list(_mistakes({**schema, "required": required}, body, ""))


def _mistakes(schema: Schema, value: Any, path: str) -> Iterator[Cause]:
    if value is None and schema.get("nullable"):
        return
    if not _has_type(schema, value):
        found, wanted = _WORDS.get(type(value), "null"), schema["type"]
        message = f'Invalid value: "{found}": {path} in body must be of type {wanted}: "{found}"'
        yield Cause(field=path, reason="FieldValueTypeInvalid", message=message)
        return
    if "enum" in schema and value not in schema["enum"]:
        listed = ", ".join(f'"{choice}"' for choice in schema["enum"])
        message = f'Unsupported value: "{value}": supported values: {listed}'
        yield Cause(field=path, reason="FieldValueNotSupported", message=message)
    for words in _limits(schema, value):
        shown = f'"{value}"' if isinstance(value, str) else value
        message = f"Invalid value: {shown}: {path} in body should {words}"
        yield Cause(field=path, reason="FieldValueInvalid", message=message)
    if isinstance(value, dict):
        yield from _mistakes_of_object(schema, value, path)
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for index, item in enumerate(value):
            yield from _mistakes(schema["items"], item, f"{path}[{index}]")


def _mistakes_of_object(schema: Schema, value: Mapping[str, Any], path: str) -> Iterator[Cause]:
    prefix = f"{path}." if path else ""
    for name in schema.get("required") or ():
        if name not in value:
            yield Cause(field=prefix + name, reason="FieldValueRequired", message="Required value")
    for name, part in value.items():
        inner = (schema.get("properties") or {}).get(name) or schema.get("additionalProperties")
        if isinstance(inner, Mapping):
            yield from _mistakes(inner, part, prefix + name)


def _has_type(schema: Schema, value: Any) -> bool:
    if schema.get("x-kubernetes-int-or-string"):
        return isinstance(value, int | str) and not isinstance(value, bool)
    wanted = _TYPES.get(schema.get("type", ""))
    if wanted is None:
        return True
    if isinstance(value, bool):
        return wanted == (bool,)
    return isinstance(value, wanted)


def _limits(schema: Schema, value: Any) -> Iterator[str]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if "minimum" in schema and value < schema["minimum"]:
            yield f"be greater than or equal to {schema['minimum']}"
        if "maximum" in schema and value > schema["maximum"]:
            yield f"be less than or equal to {schema['maximum']}"
    if isinstance(value, str):
        yield from _sizes(schema, value, "Length", "chars long")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"match '{schema['pattern']}'"
    if isinstance(value, list):
        yield from _sizes(schema, value, "Items", "items")
    if isinstance(value, dict):
        yield from _sizes(schema, value, "Properties", "properties")


def _sizes(schema: Schema, value: str | Sequence[Any] | Mapping[str, Any], what: str, words: str) -> Iterator[str]:
    least, most = schema.get(f"min{what}"), schema.get(f"max{what}")
    if least is not None and len(value) < least:
        yield f"have at least {least} {words}"
    if most is not None and len(value) > most:
        yield f"have at most {most} {words}"
