"""An attrs class as an OpenAPI v3 structural schema, with the bounds and CEL rules that `kube.declaration` declares."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import attrs

from kaito_controller.kube.declaration import CelRule, Property, declared, rules_of, wire_name
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.object_meta import ObjectMeta

_PRIMITIVES: Mapping[Any, str] = {str: "string", int: "integer", bool: "boolean", float: "number"}

_BOUNDS = (
    ("format", "format"),
    ("pattern", "pattern"),
    ("minimum", "minimum"),
    ("maximum", "maximum"),
    ("min_length", "minLength"),
    ("max_length", "maxLength"),
    ("min_items", "minItems"),
    ("max_items", "maxItems"),
    ("min_properties", "minProperties"),
    ("max_properties", "maxProperties"),
)

_TYPE_META = {
    "apiVersion": {
        "description": "Group and version of this form of the object, such as the one that this schema belongs to.",
        "type": "string",
    },
    "kind": {"description": "Kind of the object, in CamelCase.", "type": "string"},
    "metadata": {"type": "object"},
}


class SchemaError(TypeError):
    """A class uses a type that a structural schema has no word for."""


def of_class(cls: type[Any]) -> Object:
    """The schema of an attrs class: its docstring, its properties, what is required, its rules.

    A property without a default is required, unless its declaration says otherwise. Of a root object the standard
    properties apiVersion, kind and metadata are written as every CRD has them.

    Raises:
        SchemaError: a property has a type that a structural schema cannot express.
    """
    attrs.resolve_types(cls)
    properties: Object = {}
    required = []
    for attribute in attrs.fields(cls):
        declaration = declared(attribute.metadata)
        name = wire_name(attribute.name, declaration)
        if name in _TYPE_META and _is_root(cls):
            properties[name] = dict(_TYPE_META[name])
            continue
        try:
            properties[name] = of_property(attribute.type, declaration)
        except SchemaError as error:
            raise SchemaError(f"{cls.__name__}.{attribute.name}: {error}") from None
        is_required = attribute.default is attrs.NOTHING if declaration.required is None else declaration.required
        if is_required:
            required.append(name)
    made: Object = {"description": _prose(cls), "type": "object"}
    if required:
        made["required"] = sorted(required)
    made["properties"] = dict(sorted(properties.items()))
    return made | _validations(rules_of(cls))


def of_property(kind: Any, declaration: Property) -> Object:
    """The schema of one property of a type, under its declaration."""
    made = _of_type(kind, declaration)
    if declaration.doc:
        made = {"description": declaration.doc} | {key: value for key, value in made.items() if key != "description"}
    for attribute, keyword in _BOUNDS:
        bound = getattr(declaration, attribute)
        if bound is not None and bound != "":
            made[keyword] = bound
    if declaration.enum:
        made["enum"] = list(declaration.enum)
    if declaration.has_default:
        made["default"] = declaration.default
    made |= _topology(declaration)
    inherited = made.pop("x-kubernetes-validations", [])
    added = _validations(declaration.rules).get("x-kubernetes-validations", [])
    if inherited or added:
        made["x-kubernetes-validations"] = [*inherited, *added]
    return made


def _of_type(kind: Any, declaration: Property) -> Object:
    kind = _without_none(kind)
    if declaration.preserve_unknown:
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    if declaration.int_or_string or _is_int_or_string(kind):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
    if kind in _PRIMITIVES:
        return {"type": _PRIMITIVES[kind]}
    if attrs.has(kind):
        return of_class(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple:
        return {"type": "array", "items": _item(arguments[0], declaration)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _item(arguments[1], declaration)}
    raise SchemaError(f"{kind!r} has no place in a structural schema; use a primitive, tuple, Mapping or attrs class")


def _item(kind: Any, declaration: Property) -> Object:
    return of_property(kind, Property(**declaration.item))


def _topology(declaration: Property) -> Object:
    """How server-side apply merges it."""
    made: Object = {}
    if declaration.list_keys:
        made["x-kubernetes-list-type"] = "map"
        made["x-kubernetes-list-map-keys"] = list(declaration.list_keys)
    elif declaration.list_type:
        made["x-kubernetes-list-type"] = declaration.list_type
    if declaration.map_type:
        made["x-kubernetes-map-type"] = declaration.map_type
    return made


def _validations(rules: tuple[CelRule, ...]) -> Object:
    return {"x-kubernetes-validations": [_validation(rule) for rule in rules]} if rules else {}


def _validation(rule: CelRule) -> Object:
    made: Object = {"rule": rule.rule, "message": rule.message}
    if rule.found:
        made["messageExpression"] = f"{json.dumps(rule.message + '; found ')} + ({rule.found})"
    if rule.field_path:
        made["fieldPath"] = rule.field_path
    return made


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        left = [one for one in get_args(kind) if one is not NoneType]
        if len(left) == 1:
            return left[0]
    return kind


def _is_int_or_string(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType) and set(get_args(kind)) == {str, int}


def _prose(cls: type[Any]) -> str:
    """The class's docstring with the line breaks inside its paragraphs undone."""
    paragraphs = (inspect.getdoc(cls) or "").split("\n\n")
    return "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs)


def _is_root(cls: type[Any]) -> bool:
    return any(attribute.name == "metadata" and attribute.type is ObjectMeta for attribute in attrs.fields(cls))
