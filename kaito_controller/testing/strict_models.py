"""Checks a generated object against the kubernetes package's models: known fields, right types, required ones there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from kubernetes import client

_SCALARS: Final[dict[str, tuple[type, ...]]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
    "datetime": (str,),
    "object": (object,),
}
_LIST: Final = re.compile(r"[Ll]ist\[(.+)\]")
_MAP: Final = re.compile(r"[Dd]ict[\[(]str, (.+)[\])]")


def problems(model: str, value: Any) -> list[str]:
    """Everything in the decoded object that the model (such as `V1StatefulSet`) does not allow; empty when valid."""
    return list(_problems(model, value, model))


def _problems(type_name: str, value: Any, path: str) -> Iterator[str]:
    if (found := _LIST.fullmatch(type_name)) is not None:
        yield from _list_problems(found[1], value, path)
    elif (found := _MAP.fullmatch(type_name)) is not None:
        yield from _map_problems(found[1], value, path)
    elif type_name in _SCALARS:
        fits = isinstance(value, _SCALARS[type_name])
        if not fits or (type_name == "int" and isinstance(value, bool)):
            yield f"{path}: must be {type_name}; found {value!r}"
    else:
        yield from _model_problems(type_name, value, path)


def _list_problems(item_type: str, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: must be a list; found {value!r}"
        return
    for index, item in enumerate(value):
        yield from _problems(item_type, item, f"{path}[{index}]")


def _map_problems(item_type: str, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: must be a map; found {value!r}"
        return
    for key, item in value.items():
        yield from _problems(item_type, item, f"{path}[{key}]")


def _model_problems(type_name: str, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: must be a {type_name}; found {value!r}"
        return
    model = getattr(client, type_name)
    names = {wire: attribute for attribute, wire in model.attribute_map.items()}
    for key, item in value.items():
        if key in names:
            yield from _problems(model.openapi_types[names[key]], item, f"{path}.{key}")
        else:
            yield f"{path}.{key}: is no field of {type_name}"
    for attribute, wire in model.attribute_map.items():
        field = model.model_fields.get(attribute)
        if field is not None and field.is_required() and wire not in value:
            yield f"{path}.{wire}: must be given"
