"""Between decoded JSON and attrs classes: the one door to cattrs.

Reading ignores fields it does not know, and takes an explicit null for an absent field. Primitives are not coerced:
the string "3" is no integer. Objects read this way are for looking at; what is written goes out as server-side apply of
what we own or as a merge patch, so that fields unknown to these classes are never lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from kaito_controller.kube.declaration import declared, wire_name
from kaito_controller.kube.metadata import Object

_T = TypeVar("_T")
_SHOWN = 120


class SerdeError(ValueError):
    """An object does not have the form of its class: `path` (dotted), `rule` it breaks, `found` (shortened)."""

    def __init__(self, path: str, rule: str, found: str) -> None:
        super().__init__(f"{path or 'object'}: {rule}; found {found}")
        self.path = path
        self.rule = rule
        self.found = found


def structure(cls: type[_T], obj: Mapping[str, Any]) -> _T:
    """An instance of an attrs class from decoded JSON.

    Raises:
        SerdeError: the object does not fit; it names the field.
    """
    try:
        made: _T = _converter.get_structure_hook(cls)(obj, cls)
    except Exception as error:  # noqa: BLE001 - generated code raises whatever the bad value provokes
        path, rule, found = _locate(cls, obj, error)
        raise SerdeError(path, rule, found) from None
    return made


def unstructure(obj: Any) -> Object:
    """Decoded JSON of an attrs instance: camelCase names, what is at its default left out."""
    made: Object = _converter.unstructure(obj)
    return made


class _MisfitError(ValueError):
    """A value broke a rule; where it stands is found afterwards."""

    def __init__(self, rule: str, value: Any) -> None:
        super().__init__(rule)
        self.rule = rule
        self.value = value


def _primitive(kind: type[_T], rule: str) -> Callable[[Any, Any], _T]:
    def check(value: Any, _: Any) -> _T:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise _MisfitError(rule, value)
        return value

    return check


def _number(value: Any, _: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _MisfitError("must be a number", value)
    return float(value)


def _text_or_int(value: Any, _: Any) -> str | int:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise _MisfitError("must be a string or an integer", value)
    return value


def _array(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise _MisfitError("must be a list", value)
    return value


def _map(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise _MisfitError("must be an object", value)
    return value


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False, prefer_attrib_converters=True)
    converter.register_structure_hook(str, _primitive(str, "must be a string"))
    converter.register_structure_hook(int, _primitive(int, "must be an integer"))
    converter.register_structure_hook(bool, _primitive(bool, "must be true or false"))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(str | int, _text_or_int)
    converter.register_structure_hook_factory(_is_array, _array_hook)
    converter.register_structure_hook_factory(_is_map, _map_hook)
    converter.register_structure_hook_factory(attrs.has, _class_hook)
    converter.register_unstructure_hook_factory(attrs.has, _class_unhook)
    converter.register_unstructure_hook_factory(_is_array, _array_unhook)
    return converter


def _is_array(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _is_map(kind: Any) -> bool:
    origin = get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _array_hook(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], tuple[Any, ...]]:
    item = get_args(kind)[0]
    hook = converter.get_structure_hook(item)
    return lambda value, _: tuple([hook(one, item) for one in _array(value)])


def _array_unhook(kind: Any, converter: cattrs.Converter) -> Callable[[Any], list[Any]]:
    hook = converter.get_unstructure_hook(get_args(kind)[0])
    return lambda value: [hook(one) for one in value]


def _map_hook(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], dict[str, Any]]:
    item = get_args(kind)[1]
    if item is Any:
        return lambda value, _: dict(_map(value))
    hook = converter.get_structure_hook(item)
    return lambda value, _: {key: hook(one, item) for key, one in _map(value).items()}


def _overrides(cls: type[Any]) -> dict[str, Any]:
    attrs.resolve_types(cls)
    made = {}
    for attribute in attrs.fields(cls):
        declaration = declared(attribute.metadata)
        made[attribute.name] = override(
            rename=wire_name(attribute.name, declaration), omit_if_default=not declaration.always
        )
    return made


def _class_hook(cls: type[Any], converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    inner = make_dict_structure_fn(cls, converter, _cattrs_detailed_validation=False, **_overrides(cls))

    def hook(value: Any, kind: Any) -> Any:
        known = {name: one for name, one in _map(value).items() if one is not None}
        return inner(known, kind)

    return hook


def _class_unhook(cls: type[Any], converter: cattrs.Converter) -> Callable[[Any], Any]:
    return make_dict_unstructure_fn(cls, converter, **_overrides(cls))


_converter = _make_converter()


def _locate(cls: type[Any], obj: Any, error: Exception, path: str = "") -> tuple[str, str, str]:
    """Which field is at fault: the fast path carries no paths, so the object is walked again, field by field."""
    if not isinstance(obj, Mapping):
        return path, "must be an object", _shown(obj)
    attrs.resolve_types(cls)
    for attribute in attrs.fields(cls):
        name = wire_name(attribute.name, declared(attribute.metadata))
        where = f"{path}.{name}" if path else name
        value = obj.get(name)
        if value is None:
            if attribute.default is attrs.NOTHING:
                return where, "required", "nothing"
            continue
        fault = _fault(attribute.type, value, where)
        if fault is not None:
            return fault
    return path, f"does not have the form of {cls.__name__} ({error})", _shown(obj)


def _fault(kind: Any, value: Any, path: str) -> tuple[str, str, str] | None:
    try:
        _converter.get_structure_hook(kind)(value, kind)
    except Exception as error:  # noqa: BLE001 - as in structure
        return _nested(kind, value, path) or (path, getattr(error, "rule", str(error)), _shown(value))
    return None


def _nested(kind: Any, value: Any, path: str) -> tuple[str, str, str] | None:
    """The fault inside a value that is itself an object, a list or a map; None when the value as a whole is wrong."""
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    for option in options:
        if attrs.has(option) and isinstance(value, Mapping):
            return _locate(option, value, ValueError(""), path)
    if _is_array(kind) and isinstance(value, list | tuple):
        faults = (_fault(get_args(kind)[0], one, f"{path}[{index}]") for index, one in enumerate(value))
        return next((fault for fault in faults if fault), None)
    if _is_map(kind) and isinstance(value, Mapping):
        faults = (_fault(get_args(kind)[1], one, f"{path}[{name!r}]") for name, one in value.items())
        return next((fault for fault in faults if fault), None)
    return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
