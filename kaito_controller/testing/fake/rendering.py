"""The form of an answer that the `Accept` header asks for: whole objects, their metadata alone, or a table."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from kaito_controller.kube.metadata import Object, creation_timestamp
from kaito_controller.kube.timestamps import parse_timestamp
from kaito_controller.testing.fake import status
from kaito_controller.testing.fake.kinds import Kind
from kaito_controller.testing.fake.request import JSON, Request

_META = "meta.k8s.io/v1"
_PARTIAL = "PartialObjectMetadata"
_TABLE = "Table"
_SIZES = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_TWICE = 2
"""An age is told in the largest unit of which it has that many."""


def form(request: Request) -> str:
    """What is asked for: nothing for whole objects, else the kind of the other form.

    Raises:
        RefusalError: 406 when the client would take nothing that is served.
    """
    for choice in request.accept.split(","):
        media, *parameters = (part.strip() for part in choice.split(";"))
        asked = dict(part.split("=", 1) for part in parameters if "=" in part)
        if media not in {JSON, "*/*", "application/*"}:
            continue
        wanted = asked.get("as", "").removesuffix("List")
        if wanted in {_PARTIAL, _TABLE} and asked.get("g") == "meta.k8s.io" and asked.get("v") == "v1":
            return wanted
        if not wanted:
            return ""
    raise status.not_acceptable((JSON,))


def rendered(kind: Kind, form: str, obj: Object, now: datetime) -> Object:
    """One object in that form."""
    if form == _PARTIAL:
        return {"kind": _PARTIAL, "apiVersion": _META, "metadata": obj["metadata"]}
    if form == _TABLE:
        return _table(kind, [obj], {"resourceVersion": obj["metadata"]["resourceVersion"]}, now)
    return shown(kind, obj)


def shown(kind: Kind, obj: Object) -> Object:
    """A stored object as its kind shows it."""
    return kind.shown(obj) if kind.shown else obj | {"apiVersion": kind.resource.api_version}


def rendered_list(kind: Kind, form: str, items: list[Object], head: Object, now: datetime) -> Object:
    """A list in that form. Items of built-in kinds do not repeat what they are."""
    if form == _TABLE:
        return _table(kind, items, head, now)
    if form == _PARTIAL:
        parts = [rendered(kind, form, item, now) for item in items]
        return {"kind": f"{_PARTIAL}List", "apiVersion": _META, "metadata": head, "items": parts}
    resource = kind.resource
    items = [shown(kind, item) for item in items]
    if not kind.custom:
        items = [{key: part for key, part in item.items() if key not in {"apiVersion", "kind"}} for item in items]
    return {"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": head, "items": items}


def event_renderer(kind: Kind, form: str, now: Callable[[], datetime]) -> Callable[[Object], Object]:
    """Renders what a watch sends: objects and bookmarks, but not errors."""

    def render(obj: Object) -> Object:
        if form == _TABLE and "uid" not in obj["metadata"]:
            return {
                "kind": _TABLE,
                "apiVersion": _META,
                "metadata": obj["metadata"],
                "columnDefinitions": [],
                "rows": [],
            }
        return rendered(kind, form, obj, now())

    return render


def _table(kind: Kind, items: list[Object], head: Object, now: datetime) -> Object:
    columns = [{"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}]
    paths = []
    for column in kind.columns:
        columns.append(
            {
                "name": column["name"],
                "type": column["type"],
                "format": column.get("format", ""),
                "description": column.get("description", ""),
                "priority": column.get("priority", 0),
            }
        )
        paths.append(column["jsonPath"].removeprefix(".").split("."))
    columns.append({"name": "Age", "type": "string", "format": "", "description": "", "priority": 0})
    rows = [
        {
            "cells": [item["metadata"]["name"], *(_cell(item, path) for path in paths), _age(item, now)],
            "object": rendered(kind, _PARTIAL, item, now),
        }
        for item in items
    ]
    return {"kind": _TABLE, "apiVersion": _META, "metadata": head, "columnDefinitions": columns, "rows": rows}


def _cell(obj: Object, path: list[str]) -> object:
    value: object = obj
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _age(obj: Object, now: datetime) -> str:
    seconds = int((now - parse_timestamp(creation_timestamp(obj))).total_seconds())
    for size, unit in _SIZES:
        if seconds >= _TWICE * size:
            return f"{seconds // size}{unit}"
    return f"{max(seconds, 0)}s"
