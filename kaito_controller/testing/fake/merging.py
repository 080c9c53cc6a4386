"""Objects and sets of fields: what is in an object, what changed, merging one into another, taking fields out."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import define, field

from kaito_controller.testing.fake import fieldsets
from kaito_controller.testing.fake.fieldsets import Fields, Path
from kaito_controller.testing.fake.shapes import LEAF, Shape


@define
class Difference:
    """The fields that two objects do not have in common."""

    added: set[Path] = field(factory=set)
    modified: set[Path] = field(factory=set)
    removed: set[Path] = field(factory=set)


class DuplicateKeyError(ValueError):
    """Two items of a list have the same keys."""


def fields_of(shape: Shape, obj: Any) -> Fields:
    """The fields that applying an object claims: leaves, entries of free maps and items of lists."""
    return frozenset(_fields_of(shape, obj, ()))


def _fields_of(shape: Shape, value: Any, path: Path) -> Iterator[Path]:
    shape = shape.of(value)
    if not isinstance(value, list | dict) or shape.form == "leaf":
        yield path
        return
    for element, inner, item, declared in _parts(shape, value):
        here = (*path, element)
        yield from _fields_of(inner, item, here)
        if not declared or item is None or item == {}:
            yield here


def difference(shape: Shape, old: Any, new: Any) -> Difference:
    """What changed; what is added or removed counts with everything in it and with itself."""
    found = Difference()
    _compare(shape, old, new, (), found)
    return found


def _compare(shape: Shape, old: Any, new: Any, path: Path, found: Difference) -> None:
    if old == new:
        return
    shape = shape.of(new if isinstance(new, list | dict) else old)
    if shape.form == "leaf" or not _comparable(shape, old, new):
        found.modified.add(path)
        return
    before = {element: (inner, item) for element, inner, item, _ in _parts(shape, old)}
    after = {element: (inner, item) for element, inner, item, _ in _parts(shape, new)}
    for element in before.keys() | after.keys():
        here = (*path, element)
        if element not in after:
            found.removed.update(_everything(*before[element], here))
        elif element not in before:
            found.added.update(_everything(*after[element], here))
        else:
            _compare(after[element][0], before[element][1], after[element][1], here, found)


def _comparable(shape: Shape, old: Any, new: Any) -> bool:
    wanted = dict if shape.form == "map" else list
    return all(value is None or isinstance(value, wanted) for value in (old, new))


def _everything(shape: Shape, value: Any, path: Path) -> Iterator[Path]:
    yield path
    shape = shape.of(value)
    if shape.form != "leaf" and isinstance(value, list | dict):
        for element, inner, item, _ in _parts(shape, value):
            yield from _everything(inner, item, (*path, element))


def merged(shape: Shape, old: Any, new: Any) -> Any:
    """An applied value on top of a live one; raises `DuplicateKeyError` when a list names an item twice."""
    shape = shape.of(new)
    if shape.form == "leaf" or not _comparable(shape, old, new) or new is None:
        return copy.deepcopy(new)
    if shape.form == "map":
        result = dict(old or {})
        for name, value in new.items():
            result[name] = merged(shape.of_field(name), result.get(name), value)
        return result
    before = {element: item for element, _, item, _ in _parts(shape, old)}
    after = {element: item for element, _, item, _ in _parts(shape, new)}
    if len(after) < len(new):
        raise DuplicateKeyError("duplicate entries for key")
    items: list[Any] = []
    for element in _order(list(before), list(after)):
        if element not in after:
            items.append(before[element])
        else:
            items.append(merged(shape.item or LEAF, before.get(element), after[element]))
    return items


def _order(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """Items stay where they are; new ones come as late as their neighbours in the applied list allow."""
    shared = [element for element in after if element in before]
    index = 0
    for element in after:
        while index < len(before) and before[index] != element:
            candidate = before[index]
            if candidate not in after:
                yield candidate
            elif shared and candidate == shared[0]:
                break
            index += 1
        if shared and shared[0] == element:
            shared.pop(0)
        yield element
    yield from (element for element in before[index:] if element not in after)


def without(shape: Shape, value: Any, fields: Fields) -> Any:
    """A value without the fields; None when nothing is left of it, be it inside of another value."""
    shape = shape.of(value)
    if not isinstance(value, list | dict) or not fields:
        return value
    if shape.form == "leaf":
        return None
    kept: list[tuple[str, Any]] = []
    for element, inner, item, _ in _parts(shape, value):
        if (element,) in fields:
            continue
        within = fieldsets.below(fields, element)
        kept.append((element, without(inner, item, within) if within else item))
    if isinstance(value, dict):
        return {element[2:]: item for element, item in kept} or None
    return [item for _, item in kept] or None


def with_structs(shape: Shape, obj: Any, fields: Fields) -> Fields:
    """The fields and every declared field that they lie in."""
    found = set(fields)
    for path in fields:
        inner: Shape = shape
        value = obj
        for depth, element in enumerate(path[:-1]):
            inner = inner.of(value if value is not None else {})
            if element.startswith("f:") and inner.declares(element[2:]):
                found.add(path[: depth + 1])
            inner, value = _step(inner, value, element)
    return frozenset(found)


def _step(shape: Shape, value: Any, element: str) -> tuple[Shape, Any]:
    if element.startswith("f:"):
        name = element[2:]
        return shape.of_field(name), value.get(name) if isinstance(value, dict) else None
    items = {name: item for name, _, item, _ in _parts(shape, value)}
    return shape.item or LEAF, items.get(element)


def _parts(shape: Shape, value: Any) -> Iterator[tuple[str, Shape, Any, bool]]:
    """Element, shape and value of every part, and whether it is a declared field of a struct."""
    if isinstance(value, dict) and shape.form == "map":
        for name, item in value.items():
            yield fieldsets.field(name), shape.of_field(name), item, shape.declares(name)
    elif isinstance(value, list) and shape.form in {"list", "set"}:
        for item in value:
            if shape.form == "set" or isinstance(item, dict):
                yield shape.element(item), shape.item or LEAF, item, False
