"""A script of random requests, and a record of the answers that can be compared between two servers."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

from attrs import define, field, frozen

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery import codec
from kaito_controller.machinery.client.client import APPLY, MERGE_PATCH
from kaito_controller.machinery.errors import ApiError
from kaito_controller.testing.fake.gadgets import GADGETS
from kaito_controller.testing.fake.stage import World

JSON_PATCH = "application/json-patch+json"
_NAMES = ("a", "b")
_MANAGERS = ("one", "two", "three")
_FINALIZERS = ("example.com/keep", "example.com/hold")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")


@frozen(kw_only=True)
class Step:
    """One request of a script. `stale` names a write, by its number, whose version and UID it carries."""

    method: str
    resource: Resource
    name: str = ""
    subresource: str = ""
    query: dict[str, str] = field(factory=dict)
    body: Any = None
    content_type: str = "application/json"
    stale: int | None = None


def script(seed: int, length: int) -> Iterator[Step]:
    """Requests that a seed brings about: creates, updates, patches, applies and deletes of a few objects."""
    rng = random.Random(seed)  # noqa: S311 - a test's own dice
    for number in range(length):
        resource = rng.choice((CONFIG_MAPS, GADGETS))
        name = rng.choice(_NAMES)
        make = rng.choice((_create, _update, _merge, _merge, _apply, _apply, _apply, _json, _delete, _status))
        yield make(rng, resource, name, number)


def _create(rng: random.Random, resource: Resource, name: str, _number: int) -> Step:
    return Step(method="POST", resource=resource, body=_object(rng, resource, name))


def _update(rng: random.Random, resource: Resource, name: str, number: int) -> Step:
    stale = rng.choice((None, *range(max(0, number - 5), number)))
    query = {"fieldManager": rng.choice(_MANAGERS)}
    return Step(
        method="PUT",
        resource=resource,
        name=name,
        body=_object(rng, resource, name),
        query=query,
        stale=stale,
    )


def _merge(rng: random.Random, resource: Resource, name: str, _number: int) -> Step:
    body = _object(rng, resource, name)
    body["metadata"].pop("name")
    if rng.random() < 0.3:  # noqa: PLR2004 - every third or so
        body["metadata"]["finalizers"] = rng.choice((None, list(_FINALIZERS[:1]), list(_FINALIZERS)))
    if resource is GADGETS and rng.random() < 0.3:  # noqa: PLR2004 - every third or so
        body["spec"] = {key: rng.choice((None, value)) for key, value in body["spec"].items()}
    query = {"fieldManager": rng.choice(_MANAGERS)}
    return Step(method="PATCH", resource=resource, name=name, body=body, query=query, content_type=MERGE_PATCH)


def _apply(rng: random.Random, resource: Resource, name: str, _number: int) -> Step:
    query = {"fieldManager": rng.choice(_MANAGERS), "force": rng.choice(("true", "false"))}
    body = _object(rng, resource, name)
    return Step(method="PATCH", resource=resource, name=name, body=body, query=query, content_type=APPLY)


def _json(rng: random.Random, resource: Resource, name: str, _number: int) -> Step:
    path = "/data/x" if resource is CONFIG_MAPS else "/spec/color"
    operation: Object = {"op": rng.choice(("add", "replace", "remove", "test")), "path": path}
    if operation["op"] != "remove":
        operation["value"] = rng.choice("12")
    query = {"fieldManager": rng.choice(_MANAGERS)}
    return Step(method="PATCH", resource=resource, name=name, body=[operation], query=query, content_type=JSON_PATCH)


def _delete(rng: random.Random, resource: Resource, name: str, _number: int) -> Step:
    body: Object = {}
    if rng.random() < 0.3:  # noqa: PLR2004 - every third or so
        body["propagationPolicy"] = rng.choice(("Foreground", "Orphan", "Background"))
    if rng.random() < 0.2:  # noqa: PLR2004 - every fifth or so
        body["preconditions"] = {"uid": "somebody else"}
    return Step(method="DELETE", resource=resource, name=name, body=body)


def _status(rng: random.Random, _resource: Resource, name: str, _number: int) -> Step:
    status = {key: rng.choice(values) for key, values in (("phase", ("x", "y")), ("count", (1, 2)))}
    status = {key: value for key, value in status.items() if rng.random() < 0.7}  # noqa: PLR2004 - most of them
    body = {"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": name}, "status": status}
    query = {"fieldManager": rng.choice(_MANAGERS)}
    if rng.random() < 0.5:  # noqa: PLR2004 - half of them
        return Step(
            method="PATCH",
            resource=GADGETS,
            name=name,
            subresource="status",
            body={"status": status, "spec": {"size": 5}},
            query=query,
            content_type=MERGE_PATCH,
        )
    return Step(
        method="PATCH",
        resource=GADGETS,
        name=name,
        subresource="status",
        body=body,
        query=query | {"force": rng.choice(("true", "false"))},
        content_type=APPLY,
    )


def _object(rng: random.Random, resource: Resource, name: str) -> Object:
    head: Object = {"name": name}
    if rng.random() < 0.4:  # noqa: PLR2004 - some of them
        head["labels"] = {key: rng.choice("12") for key in rng.choice(("l", "m", "lm"))}
    if rng.random() < 0.1:  # noqa: PLR2004 - few of them
        head["finalizers"] = [rng.choice(_FINALIZERS)]
    obj: Object = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": head}
    if resource is CONFIG_MAPS:
        data = {key: rng.choice("12") for key in "xyz" if rng.random() < 0.6}  # noqa: PLR2004 - most of them
        return obj | ({"data": data} if data else {})
    return obj | {"spec": _spec(rng)}


def _spec(rng: random.Random) -> Object:
    choices: Object = {
        "size": rng.choice((1, 2, 3, 0)) if rng.random() < 0.2 else 1,  # noqa: PLR2004 - seldom another
        "color": rng.choice(("red", "blue")),
        "parts": [{"name": part, "value": rng.choice("12")} for part in rng.sample("pqr", rng.randint(0, 3))],
        "tags": rng.sample(["s", "t", "u"], rng.randint(0, 3)),
        "plain": rng.sample(["1", "2"], rng.randint(0, 2)),
        "settings": {key: rng.choice("12") for key in "fgh" if rng.random() < 0.5},  # noqa: PLR2004 - half of them
        "whole": {key: rng.choice("12") for key in "ab" if rng.random() < 0.7},  # noqa: PLR2004 - most of them
        "free": {"deep": {key: rng.choice("12") for key in "jk"}, "list": [rng.choice("12")]},
    }
    return {key: value for key, value in choices.items() if key == "size" or rng.random() < 0.5}  # noqa: PLR2004


@define
class Recorder:
    """Plays steps against a world and writes down what came back, with what no two servers share made alike."""

    world: World
    _known: dict[str, str] = field(factory=dict)
    _written: dict[int, Object] = field(factory=dict)

    async def play(self, number: int, step: Step) -> Object:
        """Send one request and return the record of its answer."""
        body = step.body
        if step.stale is not None and step.stale in self._written:
            head = {key: self._written[step.stale][key] for key in ("resourceVersion", "uid")}
            body = body | {"metadata": body["metadata"] | head}
        path = step.resource.path(self.world.namespace, step.name or None, step.subresource or None)
        try:
            answer = await self.world.transport.request(
                step.method, path, query=step.query, body=body, content_type=step.content_type, retry=False
            )
        except ApiError as error:
            causes = sorted({(cause.get("field", ""), cause.get("reason", "")) for cause in error.causes})
            return {"code": error.status, "reason": error.reason, "causes": causes}
        if "resourceVersion" in answer["metadata"]:
            self._written[number] = answer["metadata"]
        alike: Object = self._alike(answer)
        return alike

    def _alike(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            # Servers may leave out what is empty, and do so by the type behind it.
            parts = {name: self._alike(part, name) for name, part in sorted(value.items())}
            return {name: part for name, part in parts.items() if part is not None}
        if key == "managedFields":
            # They are sorted by their time, too, and that is not the same everywhere.
            return sorted((self._alike(entry) for entry in value), key=codec.dumps)
        if isinstance(value, list):
            return [self._alike(item, key) for item in value]
        if key in {"resourceVersion", "uid"}:
            return self._known.setdefault(value, f"{key} {len(self._known)}")
        if isinstance(value, str):
            return _TIME.sub("then", value).replace(self.world.namespace, "here")
        return value
