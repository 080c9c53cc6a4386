"""Typed fields out of one YAML mapping; a wrong one is an error that names file, line and field."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from kaito_controller.kube import quantity

_TAG = "tag:yaml.org,2002:"
_BOOLEANS = {"true": True, "false": False}

_T = TypeVar("_T")


class CatalogError(Exception):
    """A file of the catalogue is wrong; the message says where, what the rule is and what was found."""


class Fields:
    """One mapping of a catalogue file, read field by field.

    Every reader takes the field's name and raises CatalogError when the field is absent (and has no default) or has
    another type. `done` refuses fields that nobody read.
    """

    def __init__(self, node: Node, *, file: str, path: str = "") -> None:
        self._file = file
        self._path = path
        if not isinstance(node, MappingNode):
            raise self.error(path or "document", "must be a mapping of fields", _found(node), node)
        self._node = node
        self._values: dict[str, Node] = {}
        self._read: set[str] = set()
        for key, value in node.value:
            if str(key.value) in self._values:
                raise self.error(self._at(str(key.value)), "must be written once", "it twice", key)
            self._values[str(key.value)] = value

    def error(self, field: str, rule: str, found: str, node: Node | None = None) -> CatalogError:
        """The error of one field: what the rule is and what was found instead."""
        line = (node or self._node).start_mark.line + 1
        return CatalogError(f"{self._file}:{line}: {field}: {rule}; found {found}")

    def problem(self, name: str, rule: str) -> CatalogError:
        """The error of a field whose type is right and whose value is not."""
        node = self._values[name]
        return self.error(self._at(name), rule, _found(node), node)

    def has(self, name: str) -> bool:
        """Whether the field is written."""
        return name in self._values

    def text(self, name: str, default: str | None = None) -> str:
        """A string that is not empty."""
        return self._scalar(name, "str", "must be a text that is not empty", _text, default)

    def optional_text(self, name: str) -> str | None:
        """A string, or None when the field is absent."""
        return self.text(name) if self.has(name) else None

    def positive(self, name: str) -> int:
        """A whole number above zero."""
        return self._scalar(name, "int", "must be a whole number above zero", _positive, None)

    def optional_positive(self, name: str) -> int | None:
        """A whole number above zero, or None when the field is absent."""
        return self.positive(name) if self.has(name) else None

    def price(self, name: str) -> float:
        """A number above zero."""
        kind = "int" if self.has(name) and _has_type(self._values[name], "int") else "float"
        return self._scalar(name, kind, "must be a number above zero", _price, None)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """True or false."""
        return self._scalar(name, "bool", "must be true or false", lambda text: _BOOLEANS[text.lower()], default)

    def share(self, name: str) -> float | None:
        """A number above 0 and at most 1, or None when the field is absent."""
        if not self.has(name):
            return None
        return self._scalar(name, "float", "must be a number above 0 and at most 1", _share, None)

    def size(self, name: str) -> int:
        """A Kubernetes quantity, in bytes."""
        return self._scalar(name, "str", 'must be a quantity above zero such as "80Gi"', _size, None)

    def optional_size(self, name: str) -> int | None:
        """A Kubernetes quantity, in bytes, or None when the field is absent."""
        return self.size(name) if self.has(name) else None

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings; empty when the field is absent."""
        return tuple(self._plain_text(name, node) for node in self._items(name))

    def text_map(self, name: str) -> dict[str, str]:
        """A mapping of strings to strings; empty when the field is absent."""
        if not self.has(name):
            return {}
        inner = self.mapping(name)
        return {key: inner.text(key) for key in inner}

    def mapping(self, name: str) -> Fields:
        """A nested mapping."""
        return Fields(self._required(name), file=self._file, path=self._at(name))

    def optional_mapping(self, name: str) -> Fields | None:
        """A nested mapping, or None when the field is absent."""
        return self.mapping(name) if self.has(name) else None

    def mappings(self, name: str) -> list[Fields]:
        """A list of nested mappings; empty when the field is absent."""
        path = self._at(name)
        return [Fields(node, file=self._file, path=f"{path}[{index}]") for index, node in enumerate(self._items(name))]

    def plain(self, name: str) -> Any:
        """The field as plain decoded YAML, for parts that are Kubernetes objects; None when absent."""
        return _plain(self._required(name)) if self.has(name) else None

    def done(self) -> None:
        """Refuse every field that nobody read: it is misspelt or in the wrong place."""
        for name, node in self._values.items():
            if name not in self._read:
                rule = f"is not a field of this mapping, whose fields are {', '.join(sorted(self._read))}"
                raise self.error(self._at(name), rule, f"'{name}'", node)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _required(self, name: str) -> Node:
        self._read.add(name)
        if name not in self._values:
            raise self.error(self._at(name), "must be given", "nothing")
        return self._values[name]

    def _items(self, name: str) -> list[Node]:
        self._read.add(name)
        if not self.has(name):
            return []
        node = self._values[name]
        if not isinstance(node, SequenceNode):
            raise self.error(self._at(name), "must be a list", _found(node), node)
        return list(node.value)

    def _plain_text(self, name: str, node: Node) -> str:
        if not isinstance(node, ScalarNode) or not _has_type(node, "str"):
            raise self.error(self._at(name), "must be a list of texts", _found(node), node)
        return str(node.value)

    def _scalar(self, name: str, type_name: str, rule: str, read: Callable[[str], _T], default: _T | None) -> _T:
        self._read.add(name)
        if default is not None and not self.has(name):
            return default
        node = self._required(name)
        if not isinstance(node, ScalarNode) or not _has_type(node, type_name):
            raise self.error(self._at(name), rule, _found(node), node)
        try:
            return read(node.value)
        except (ValueError, KeyError):
            raise self.error(self._at(name), rule, _found(node), node) from None


def _has_type(node: Node, name: str) -> bool:
    return str(node.tag) == _TAG + name


def _found(node: Node) -> str:
    if isinstance(node, ScalarNode):
        return "nothing" if _has_type(node, "null") else f"'{node.value}' ({str(node.tag).removeprefix(_TAG)})"
    return "a mapping" if isinstance(node, MappingNode) else "a list"


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError(text)
    return text


def _positive(text: str) -> int:
    number = int(text)
    if number <= 0:
        raise ValueError(text)
    return number


def _price(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(text)
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1:
        raise ValueError(text)
    return number


def _size(text: str) -> int:
    number = quantity.to_bytes(text)
    if number <= 0:
        raise ValueError(text)
    return number


def _plain(node: Node) -> Any:
    if isinstance(node, MappingNode):
        return {str(key.value): _plain(value) for key, value in node.value}
    if isinstance(node, SequenceNode):
        return [_plain(item) for item in node.value]
    return _plain_scalar(node)


def _plain_scalar(node: Node) -> Any:
    if _has_type(node, "int"):
        return int(node.value)
    if _has_type(node, "bool"):
        return _BOOLEANS[node.value.lower()]
    return None if _has_type(node, "null") else str(node.value)
