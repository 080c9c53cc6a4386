"""The fake API server reached in memory: a `Transport` without sockets, for virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from attrs import frozen

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery import codec
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiConnectionError, ApiError, ApiTimeoutError
from kaito_controller.machinery.rest.retry import refusal, send_again
from kaito_controller.testing.fake.request import JSON, Request, Response
from kaito_controller.testing.fake.server import FakeServer
from kaito_controller.testing.fake.watch import Watch


class FakeTransport:
    """Requests to a `FakeServer`, each passed on as JSON, so that no object is shared with the server."""

    def __init__(
        self,
        server: FakeServer,
        clock: Clock | None = None,
        *,
        user_agent: str = "kaito-controller",
        token: str = "",
    ) -> None:
        self._server = server
        self._clock = clock or server.clock
        self._user_agent = user_agent
        self._token = token
        self._closed = False

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = JSON,
        timeout_s: float = 30,
        retry: bool = True,
        accept: str = JSON,
    ) -> Object:
        """One call; see `machinery.transport.Transport`."""
        request = self.asked(method, path, query, accept, body=body, content_type=content_type)

        async def attempt() -> Object:
            try:
                async with asyncio.timeout(timeout_s):
                    response = await self._handle(request)
            except TimeoutError as error:
                raise ApiTimeoutError(f"{method} {path}: no answer in time") from error
            data = encoded(response.body)
            if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise _error(response, data)
            return dict(codec.loads(data)) if isinstance(response.body, dict) else {}

        return await (send_again(attempt, method=method, clock=self._clock) if retry else attempt())

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        idle_timeout_s: float | None = None,
        accept: str = JSON,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """A long answer; see `machinery.transport.Transport`."""
        response = await self._handle(self.asked(method, path, query, accept))
        if response.stream is None:
            data = encoded(response.body)
            if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise _error(response, data)
            yield _once(data)
            return
        try:
            yield _Lines(response.stream, idle_timeout_s)
        finally:
            response.stream.close()

    async def close(self) -> None:
        """Further requests are refused."""
        self._closed = True

    async def _handle(self, request: Request) -> Response:
        await asyncio.sleep(0)
        if self._closed:
            raise ApiConnectionError("the transport is closed")
        return await self._server.handle(request)

    def asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        accept: str = JSON,
        *,
        body: Any = None,
        content_type: str = JSON,
    ) -> Request:
        """A request as the server would see it."""
        return Request(
            method=method,
            path=path,
            query=dict(query or {}),
            body=None if body is None else codec.loads(codec.dumps(body)),
            content_type=content_type,
            accept=accept,
            user_agent=self._user_agent,
            token=self._token,
            at=self._clock.monotonic(),
        )


def encoded(body: Object | str) -> bytes:
    """A body as it goes over the wire."""
    return body.encode() if isinstance(body, str) else codec.dumps(body)


def _error(response: Response, data: bytes) -> ApiError:
    return refusal(response.status, "", response.headers, data)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


@frozen
class _Lines:
    """The events of a watch as lines. No generator: one that is left behind would be closed by a task of the loop."""

    watch: Watch
    idle_timeout_s: float | None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            async with asyncio.timeout(self.idle_timeout_s):
                event = await self.watch.next()
        except TimeoutError as error:
            raise ApiTimeoutError(f"the stream was silent for {self.idle_timeout_s} s") from error
        if event is None:
            raise StopAsyncIteration
        return codec.dumps(event) + b"\n"
