"""What an attrs class says about itself beyond its types: descriptions, bounds, CEL rules, names on the wire.

`field(default=..., metadata=schema("...", max_length=63))` declares one property; `@rules(...)` above the class
declares rules over the whole object. `kube.serde` and `kube.schema` read them; nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from attrs import field, frozen

_KEY = "kaito_controller.kube"
_RULES = "__cel_rules__"
_T = TypeVar("_T")


@frozen
class CelRule:
    """One `x-kubernetes-validations` entry. `message` names field, rule and remedy; `found` is a CEL string expression.

    With `found` the API server says message, then what it found; should that expression fail, message alone.
    """

    rule: str
    message: str
    found: str = ""
    field_path: str = ""


@frozen(kw_only=True)
class Property:
    """The declaration of one property. `item` holds bounds of what a list or map holds, under the same names."""

    doc: str = ""
    wire: str = ""
    required: bool | None = None
    always: bool = False
    default: Any = None
    has_default: bool = False
    enum: tuple[str, ...] = ()
    format: str = ""
    pattern: str = ""
    minimum: int | None = None
    maximum: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    min_properties: int | None = None
    max_properties: int | None = None
    item: Mapping[str, Any] = field(factory=dict)
    list_keys: tuple[str, ...] = ()
    list_type: str = ""
    map_type: str = ""
    preserve_unknown: bool = False
    int_or_string: bool = False
    rules: tuple[CelRule, ...] = ()


_UNSET: Any = object()
_NO_DECLARATION = Property()


def schema(doc: str, *, default: Any = _UNSET, **bounds: Any) -> dict[str, Any]:
    """The metadata of an attrs field: `doc` is its description, the rest are fields of `Property`."""
    if default is not _UNSET:
        bounds |= {"default": default, "has_default": True}
    return {_KEY: Property(doc=doc, **bounds)}


def declared(metadata: Mapping[Any, Any]) -> Property:
    """What `schema` put into the metadata of an attrs field."""
    found = metadata.get(_KEY, _NO_DECLARATION)
    assert isinstance(found, Property)  # noqa: S101 - narrows the type; only schema() writes this key
    return found


def rules(*declared_rules: CelRule) -> Callable[[type[_T]], type[_T]]:
    """A class decorator that attaches CEL rules over the whole object."""

    def attach(cls: type[_T]) -> type[_T]:
        setattr(cls, _RULES, declared_rules)
        return cls

    return attach


def rules_of(cls: type[Any]) -> tuple[CelRule, ...]:
    """The CEL rules declared over a class."""
    found: tuple[CelRule, ...] = vars(cls).get(_RULES, ())
    return found


def wire_name(attribute: str, declaration: Property) -> str:
    """The property's name in JSON: as declared, else camelCase of the attribute's name."""
    if declaration.wire:
        return declaration.wire
    first, *rest = attribute.split("_")
    return first + "".join(part.capitalize() for part in rest)
