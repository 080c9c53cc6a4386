"""What a scripted API server answers, request by request, and what the client does meanwhile."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from attrs import field, frozen

from kaito_controller.kube.metadata import Object

LAST = "the-end"
"""The object whose arrival tells every handler that the scenario is over."""


@frozen(kw_only=True)
class Whole:
    """An answer in one piece."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


@frozen(kw_only=True)
class Gate:
    """In a stream: wait until the client says that it has done its action of this name."""

    name: str


@frozen(kw_only=True)
class Pause:
    """In a stream: stay silent for that long."""

    seconds: float


@frozen(kw_only=True)
class Stream:
    """An answer that goes on: bytes and waits, and how it ends."""

    steps: tuple[bytes | Gate | Pause, ...] = ()
    end: str = "close"
    """`close` in order, `cut` the connection in the middle of the body, or `stay` open until the client goes."""


@frozen
class Drop:
    """No answer: the connection is closed once the request has been read."""


Plain = Whole | Stream | Drop


@frozen(kw_only=True)
class Either:
    """An answer that depends on what is asked: a list, a watch, or a watch that begins with everything."""

    listing: Plain
    watch: Plain
    watch_list: Plain = field(factory=Drop)


Answer = Plain | Either


@frozen(kw_only=True)
class HandlerOption:
    """A handler that takes part; a late one is added by an action."""

    name: str
    resync_s: float = 0.0
    late: bool = False
    fails_on: str = ""


@frozen(kw_only=True)
class Action:
    """Done when every handler there is has been told of the object `after` (`key@resourceVersion`); opens the gate."""

    after: str
    do: str
    handler: str
    gate: str = ""


@frozen(kw_only=True)
class Scenario:
    """One play. `proves` names the scenarios of the reference that it touches.

    The answers are given strictly in order; when there are none left, requests wait for ever.
    """

    name: str
    proves: tuple[str, ...]
    answers: Sequence[Answer]
    watch_list: bool = False
    handlers: tuple[HandlerOption, ...] = field(default=(HandlerOption(name="first"),))
    actions: tuple[Action, ...] = ()

    def for_peer(self) -> dict[str, Any]:
        """What the Go program has to know."""
        return {
            "name": self.name,
            "handlers": [
                {"name": each.name, "resync_s": each.resync_s, "late": each.late, "fails_on": each.fails_on}
                for each in self.handlers
            ],
            "actions": [
                {"after": each.after, "do": each.do, "handler": each.handler, "gate": each.gate}
                for each in self.actions
            ],
        }


def made(name: str, version: int, *, uid: str = "", team: str = "", text: str = "") -> Object:
    """A ConfigMap as it stands in a watch."""
    head: Object = {"name": name, "namespace": "default", "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    if team:
        head["labels"] = {"team": team}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": head, "data": {"text": text or name}}


def listing(version: int, *objects: Object, then: str = "") -> Whole:
    """A list, or one page of it when another follows. As in real lists, items lack kind and apiVersion."""
    items = [{name: value for name, value in obj.items() if name not in {"apiVersion", "kind"}} for obj in objects]
    head: Object = {"resourceVersion": str(version)}
    if then:
        head |= {"continue": then, "remainingItemCount": 1}
    return Whole(body=encoded({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": head, "items": items}))


def status(code: int, reason: str, message: str = "", **details: Any) -> Object:
    """A Status as it stands in a body or in a stream."""
    failure: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code}
    failure |= {"reason": reason, "message": message or reason}
    return failure | ({"details": details} if details else {})


def refusal(code: int, reason: str, message: str = "", **details: Any) -> Whole:
    """An answer that refuses; seconds to wait go into the header too, as servers do."""
    wait = details.get("retryAfterSeconds")
    headers = (("Retry-After", str(wait)),) if wait else ()
    return Whole(body=encoded(status(code, reason, message, **details)), status=code, headers=headers)


TOO_LARGE = {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]}


def event(kind: str, obj: Object) -> bytes:
    """One line of a watch."""
    return encoded({"type": kind, "object": obj}) + b"\n"


def added(*objects: Object) -> bytes:
    """Lines of a watch, one ADDED an object."""
    return b"".join(event("ADDED", obj) for obj in objects)


def bookmark(version: int, **annotations: str) -> bytes:
    """A bookmark; keyword arguments are annotations under k8s.io/, with dashes for underscores."""
    head: Object = {"resourceVersion": str(version), "creationTimestamp": None}
    if annotations:
        head["annotations"] = {f"k8s.io/{name.replace('_', '-')}": value for name, value in annotations.items()}
    return event("BOOKMARK", {"kind": "ConfigMap", "apiVersion": "v1", "metadata": head})


def initial_events_end(version: int) -> bytes:
    """The bookmark that ends the initial events."""
    return bookmark(version, initial_events_end="true")


def watch(*steps: bytes | Gate | Pause, end: str = "close") -> Stream:
    """A watch that ends."""
    return Stream(steps=steps, end=end)


def final(*steps: bytes | Gate | Pause, version: int = 999) -> Stream:
    """The last watch of a scenario: what happens in it, then the object that ends it; it stays open."""
    return Stream(steps=(*steps, added(made(LAST, version))), end="stay")


def encoded(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()
