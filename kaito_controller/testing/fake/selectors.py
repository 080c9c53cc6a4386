"""Label and field selectors as query parameters, and what they match."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from attrs import field, frozen

from kaito_controller.kube.metadata import Object, labels
from kaito_controller.testing.fake import status
from kaito_controller.testing.fake.kinds import Kind

Requirement = Callable[[Mapping[str, str]], bool]

_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?"
_SET = re.compile(rf"({_NAME})\s+(in|notin)\s*\(([^)]*)\)")
_COMPARED = re.compile(rf"({_NAME})\s*(==|!=|=|>|<)\s*([-A-Za-z0-9_.]*)")
_THERE = re.compile(rf"(!?)\s*({_NAME})")


@frozen(kw_only=True)
class Selection:
    """Which objects of a collection are asked for."""

    namespace: str = ""
    labels: tuple[Requirement, ...] = ()
    fields: tuple[tuple[str, bool, str], ...] = field(default=())
    """Path, whether it shall be equal, value."""

    @property
    def everything(self) -> bool:
        """Whether no selector narrows it; a namespace alone does not count."""
        return not self.labels and not self.fields

    def matches(self, obj: Object) -> bool:
        """Whether the object is meant."""
        if self.namespace and (obj["metadata"].get("namespace") or "") != self.namespace:
            return False
        found = labels(obj)
        return all(requirement(found) for requirement in self.labels) and all(
            (_text(obj, path) == value) is equal for path, equal, value in self.fields
        )


def selection(kind: Kind, namespace: str, name: str, query: Mapping[str, str]) -> Selection:
    """The selection that a request asks for; raises a `RefusalError` when a selector cannot be read."""
    fields = tuple(_field_requirements(kind, query.get("fieldSelector", "")))
    if name:
        fields += (("metadata.name", True, name),)
    return Selection(
        namespace=namespace, labels=tuple(_label_requirements(query.get("labelSelector", ""))), fields=fields
    )


def _label_requirements(text: str) -> Iterator[Requirement]:
    for part in _split(text):
        yield _label_requirement(part)


def _split(text: str) -> Iterator[str]:
    """Cut at commas that are outside of parentheses."""
    depth, start = 0, 0
    for index, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and not depth:
            yield text[start:index].strip()
            start = index + 1
    if text[start:].strip():
        yield text[start:].strip()


def _label_requirement(part: str) -> Requirement:
    if found := _SET.fullmatch(part):
        key, values = found[1], {value.strip() for value in found[4].split(",")}
        if found[3] == "in":
            return lambda labels: key in labels and labels[key] in values
        return lambda labels: labels.get(key) not in values
    if found := _COMPARED.fullmatch(part):
        return _comparison(found[1], found[3], found[4])
    if found := _THERE.fullmatch(part):
        key, wanted = found[2], not found[1]
        return lambda labels: (key in labels) is wanted
    raise status.bad_request(f"unable to parse requirement: found {part!r}, expected a label selector")


def _comparison(key: str, operator: str, value: str) -> Requirement:
    match operator:
        case "!=":
            return lambda labels: labels.get(key) != value
        case ">" | "<":
            if not re.fullmatch(r"-?\d+", value):
                raise status.bad_request(f"values[0][{key}]: Invalid value: {value!r}: must be an integer")
            return lambda labels: _beyond(labels.get(key), operator, int(value))
        case _:
            return lambda labels: labels.get(key) == value


def _beyond(found: str | None, operator: str, limit: int) -> bool:
    if found is None or not re.fullmatch(r"-?\d+", found):
        return False
    return int(found) > limit if operator == ">" else int(found) < limit


def _field_requirements(kind: Kind, text: str) -> Iterator[tuple[str, bool, str]]:
    known = {"metadata.name": "metadata.name", **kind.fields}
    if kind.resource.namespaced or not kind.custom:
        known["metadata.namespace"] = "metadata.namespace"
    for part in filter(None, text.split(",")):
        found = re.fullmatch(r"([^=!]*)(==|!=|=)(.*)", part)
        if not found:
            raise status.bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        label, operator, value = found.groups()
        if label not in known:
            raise status.bad_request(_unknown_field(kind, label))
        yield known[label], operator != "!=", value


def _unknown_field(kind: Kind, label: str) -> str:
    if kind.custom:
        return f"field label not supported: {label}"
    return f'"{label}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def _text(obj: Object, path: str) -> str:
    value: object = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
