"""The Lease of a leader election in virtual time: a server with optimistic locking, and one network for each contender.

A write that its sender has given up on may still arrive, as on a real network: the server applies what reaches it,
whether anybody waits for the answer or not.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from random import Random
from typing import Any

from attrs import define, field, frozen

from kaito_controller.kube.core import LEASES
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiConnectionError, ApiError


@frozen(kw_only=True)
class Exchange:
    """A request that reached the server."""

    at: float
    method: str
    body: Object | None


@define
class LeaseServer:
    """One Lease. A write with another resourceVersion than the current one is refused."""

    clock: Clock
    lease: Object | None = None
    version: int = 0
    exchanges: list[Exchange] = field(init=False, factory=list)
    refuse: dict[str, list[ApiError]] = field(init=False, factory=dict)
    """Errors to answer next, by method."""

    @property
    def spec(self) -> dict[str, Any]:
        """The record as it is now; empty when there is none."""
        return dict((self.lease or {}).get("spec") or {})

    @property
    def writes(self) -> list[dict[str, Any]]:
        """The records of all writes that arrived, in order."""
        return [dict((each.body or {})["spec"]) for each in self.exchanges if each.body is not None]

    @property
    def methods(self) -> list[str]:
        """The methods of all requests that arrived, in order."""
        return [each.method for each in self.exchanges]

    def put(self, **spec: Any) -> None:
        """Change the record by somebody who is no contender."""
        self.version += 1
        metadata = {"name": "lease", "namespace": "kaito", "resourceVersion": str(self.version)}
        head = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata}
        self.lease = {**head, "spec": {**self.spec, **spec}}

    def delete(self) -> None:
        """Delete the lease."""
        self.lease = None

    def handle(self, method: str, body: Object | None) -> Object:
        """Answer a request as the API server would."""
        self.exchanges.append(Exchange(at=self.clock.monotonic(), method=method, body=body))
        if self.refuse.get(method):
            raise self.refuse[method].pop(0)
        if method != "POST" and self.lease is None:
            raise ApiError(404, "NotFound", "no lease")
        if method == "POST" and self.lease is not None:
            raise ApiError(409, "AlreadyExists", "there is a lease")
        if method == "PUT" and (body or {})["metadata"]["resourceVersion"] != str(self.version):
            raise ApiError(409, "Conflict", "the lease has changed")
        if method != "GET":
            self.version += 1
            self.lease = json.loads(json.dumps(body))
            assert self.lease is not None
            self.lease["metadata"]["resourceVersion"] = str(self.version)
        answer: Object = json.loads(json.dumps(self.lease))
        return answer


@define
class LeaseNetwork:
    """One contender's connection to a lease server; a `Transport`.

    `delay_s` is the longest time on the way there and on the way back. Cut, requests are refused at once; with `hangs`
    they vanish without an answer; with `loses_answers` they arrive, and only the answers vanish.
    """

    clock: Clock
    server: LeaseServer
    rng: Random = field(factory=lambda: Random(0))  # noqa: S311 - a network of a test
    delay_s: float = 0.0
    answer_s: float = 0.0
    is_cut: bool = False
    hangs: bool = False
    loses_answers: bool = False

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        **_: Any,
    ) -> Object:
        """Send, have the server answer after a while, and wait for that."""
        if self.is_cut:
            await self.clock.sleep(0)
            raise ApiConnectionError(f"{method} {path}: connection refused")
        answer: asyncio.Future[Object] = asyncio.get_running_loop().create_future()
        if not self.hangs:
            self.clock.call_later(self.delay_s * self.rng.random(), lambda: self._arrive(method, body, answer))
        return await answer

    def _arrive(self, method: str, body: Object | None, answer: asyncio.Future[Object]) -> None:
        result: Object | Exception
        try:
            result = self.server.handle(method, body)
        except ApiError as error:
            result = error
        if not self.loses_answers:
            back_s = self.answer_s + self.delay_s * self.rng.random()
            self.clock.call_later(back_s, lambda: _settle(answer, result))

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        idle_timeout_s: float | None = None,
        **_: Any,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Leases are not watched."""
        raise ApiError(405, "MethodNotAllowed", f"{method} {path} {query} {idle_timeout_s}: leases are not watched")
        yield  # type: ignore[unreachable]  # it has to be a generator

    async def close(self) -> None:
        """There is nothing to close."""


@frozen(kw_only=True)
class SkewedClock:
    """A contender's own clock: wrong by `offset_s`, and going `rate` times as fast as it should."""

    clock: Clock
    offset_s: float = 0.0
    rate: float = 1.0

    def now(self) -> datetime:
        """The wrong wall clock."""
        return self.clock.now() + timedelta(seconds=self.offset_s)

    def monotonic(self) -> float:
        """Seconds since some instant of its own."""
        return self.clock.monotonic() * self.rate + abs(self.offset_s)

    async def sleep(self, seconds: float) -> None:
        """Let that much of its own time pass."""
        await self.clock.sleep(seconds / self.rate)

    def call_later(self, seconds: float, callback: Any) -> asyncio.TimerHandle:
        """Call back once that much of its own time has passed."""
        return self.clock.call_later(seconds / self.rate, callback)


def _settle(answer: asyncio.Future[Object], result: Object | Exception) -> None:
    if answer.done():
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
