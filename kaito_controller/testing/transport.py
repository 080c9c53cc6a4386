"""A transport whose answers a test writes down: a stand-in for a kube-apiserver seen through `AioTransport`.

It plays wire behaviour that a real server shows rarely or never on demand: a page that expires, a stream that stays
silent, an error in mid-stream. What it answers is only what the script says; it keeps no objects. Tests of behaviour
that a real server has at any time run against that one, in test/envtest.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from attrs import define, field, frozen

from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiConnectionRefusedError, ApiError


@frozen(kw_only=True)
class Call:
    """One request as it was made; `at` is the clock's monotonic time."""

    at: float
    method: str
    path: str
    query: Mapping[str, str]
    body: Object | None = None
    content_type: str = ""
    accept: str = "application/json"

    @property
    def is_watch(self) -> bool:
        """Whether it opened a watch."""
        return self.query.get("watch") == "true"

    @property
    def is_watch_list(self) -> bool:
        """Whether it opened a watch that begins with everything that is there."""
        return self.query.get("sendInitialEvents") == "true"


Answer = Object | Exception | Callable[[Call], Object]
Step = bytes | float | Exception
"""In a stream: bytes to deliver, seconds to stay silent, or how it breaks."""


@define
class Stream:
    """What a watch answers, step by step; it ends after the last one unless it `stays` open."""

    steps: list[Step] = field(factory=list)
    stays: bool = False


@define
class ScriptedTransport:
    """Answers requests from `answers` and watches from `streams`, each in order, and writes down every call.

    When the script of streams has ended, further watches stay open and silent. When that of answers has ended, a
    request is an error of the test. Unless it `streams_lists`, a watch that asks for initial events is refused, as by
    a server of before Kubernetes 1.34, and takes no stream of the script.
    """

    clock: Clock
    answers: deque[Answer] = field(factory=deque, converter=deque)
    streams: deque[Stream | Exception] = field(factory=deque, converter=deque)
    streams_lists: bool = False
    calls: list[Call] = field(init=False, factory=list)
    open_streams: int = field(init=False, default=0)

    @property
    def lists(self) -> list[Call]:
        """The reads of collections and objects that were made."""
        return [call for call in self.calls if call.method == "GET" and not call.is_watch]

    @property
    def watches(self) -> list[Call]:
        """The watches that were opened or tried, but for those that asked for initial events."""
        return [call for call in self.calls if call.is_watch and not call.is_watch_list]

    @property
    def watch_lists(self) -> list[Call]:
        """The watches that asked for initial events."""
        return [call for call in self.calls if call.is_watch_list]

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout_s: float = 30,  # noqa: ARG002 - a scripted answer comes at once
        retry: bool = True,  # noqa: ARG002 - the script says what a retry would meet
    ) -> Object:
        """Answer from the script."""
        call = Call(
            at=self.clock.monotonic(),
            method=method,
            path=path,
            query=dict(query or {}),
            body=body,
            content_type=content_type,
            accept=accept,
        )
        self.calls.append(call)
        await self.clock.sleep(0)
        if not self.answers:
            raise AssertionError(f"the script has no answer to {method} {path} {dict(query or {})}")
        answer = self.answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer(call) if callable(answer) else json.loads(json.dumps(answer))

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
        idle_timeout_s: float | None = None,  # noqa: ARG002 - silence is the script's to end
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the next stream of the script."""
        made = Call(at=self.clock.monotonic(), method=method, path=path, query=dict(query or {}), accept=accept)
        self.calls.append(made)
        await self.clock.sleep(0)
        if made.is_watch_list and not self.streams_lists:
            raise ApiError(422, "Invalid", "sendInitialEvents: Forbidden: the WatchList feature gate is off")
        script = self.streams.popleft() if self.streams else Stream(stays=True)
        if isinstance(script, Exception):
            raise script
        self.open_streams += 1
        try:
            yield self._play(script)
        finally:
            self.open_streams -= 1

    async def close(self) -> None:
        """There is nothing to close."""

    async def _play(self, script: Stream) -> AsyncIterator[bytes]:
        for step in script.steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, bytes):
                yield step
            else:
                await self.clock.sleep(step)
        if script.stays:
            # Open and silent: only a deadline or a cancel of the reader ends it.
            await asyncio.Event().wait()


def event(kind: str, obj: Object) -> bytes:
    """A watch event as a line of the stream."""
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def bookmark(resource: Resource, version: str) -> bytes:
    """A BOOKMARK event."""
    obj = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"resourceVersion": version}}
    return event("BOOKMARK", obj)


def error(code: int, reason: str, message: str = "") -> bytes:
    """An ERROR event, as the server sends in mid-stream."""
    status = {"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason}
    return event("ERROR", status | {"message": message})


def listing(resource: Resource, version: str, *objects: Object, next_page: str = "") -> Object:
    """The answer to a list."""
    head: dict[str, Any] = {"resourceVersion": version}
    if next_page:
        head["continue"] = next_page
    return {"apiVersion": resource.api_version, "kind": resource.list_kind, "metadata": head, "items": list(objects)}


def obj(resource: Resource, name: str, version: str, *, namespace: str = "default", **fields: Any) -> Object:
    """An object with a name, a resourceVersion and a UID made of both names."""
    head: Object = {"name": name, "resourceVersion": version, "uid": f"uid-{namespace}-{name}"}
    if resource.namespaced:
        head["namespace"] = namespace
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": head} | fields


def gone(message: str = "too old resource version") -> ApiError:
    """The answer to a version or a page that is no longer kept."""
    return ApiError(410, "Expired", message)


def refused() -> ApiConnectionRefusedError:
    """What a server that is not running answers."""
    return ApiConnectionRefusedError("connection refused")


def initial_events_end(resource: Resource, version: str, marked: str = "true") -> bytes:
    """The BOOKMARK that tells a WatchList that everything has been sent."""
    head = {"resourceVersion": version, "annotations": {"k8s.io/initial-events-end": marked}}
    return event("BOOKMARK", {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": head})
