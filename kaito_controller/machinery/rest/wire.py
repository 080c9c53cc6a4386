"""Sending one request: with the credentials and connections of the moment, counted, and failing in our own words."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from http import HTTPStatus
from typing import Any

from attrs import define, field, frozen

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.backoff import TokenBucket
from kaito_controller.machinery.cancellation import is_asked_to_end
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiConnectionError, ApiConnectionLostError, ApiTimeoutError
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.rest.connections import Connections
from kaito_controller.machinery.rest.credentials import Credentials, Identity
from kaito_controller.machinery.rest.metrics import RequestMetrics
from kaito_controller.machinery.rest.sessions import CALL_CONNECTIONS, Sessions

OPENING_S = 30
"""Seconds until a stream must have been answered."""
BROKEN = {errno.ECONNRESET, errno.EPIPE}


@frozen(kw_only=True)
class Call:
    """One request as handed in, how long its answer may take to begin, and what may forbid it until it is sent."""

    method: str
    path: str
    query: Mapping[str, str] | None = None
    body: Object | None = field(default=None, repr=False)
    content_type: str = "application/json"
    accept: str = "application/json"
    begin_s: float = OPENING_S
    permit: Callable[[], None] | None = None


@frozen(kw_only=True)
class Failures:
    """The exceptions of aiohttp that mean something of their own here."""

    client: type[Exception]
    tls: type[Exception]
    lost: tuple[type[Exception], ...]


@define(kw_only=True)
class Wire:
    """What every request of a transport goes over.

    Attributes:
        calls: how many calls are under way; whoever makes one counts it here.
        cut_off: whether a TLS connection was given up in mid-request, whose goodbye takes a moment.
    """

    credentials: Credentials
    connections: Connections
    failures: Failures
    clock: Clock
    user_agent: str
    limit: TokenBucket | None
    metrics: Metrics | None
    measure: RequestMetrics | None
    calls: int = field(init=False, default=0)
    cut_off: bool = field(init=False, default=False)

    @property
    def host_label(self) -> str:
        """Host and port, as metrics name the server."""
        return self.credentials.host.partition("://")[2]

    async def send(self, stack: AsyncExitStack, call: Call, limits: Any, *, watch: bool = False) -> Any:
        """Send a request and return the opened answer, which holds on to its sessions until `stack` unwinds.

        What was not accepted, by the server (401) or of the server (its certificate), is sent once more if there are
        newer credentials or certificates; without them, it stands.
        """
        identity, sessions = await self._take(stack)
        try:
            response = await self._send_once(identity, sessions, call, limits, watch=watch)
        except ApiConnectionError as error:
            if not isinstance(error.__cause__, (ssl.SSLError, ssl.CertificateError, self.failures.tls)):
                raise
            self.connections.look_again()
            again, newer = await self._take(stack)
            if newer is sessions:
                raise
        else:
            if response.status != HTTPStatus.UNAUTHORIZED:
                return response
            try:
                await self.credentials.refused(identity)
                self.connections.look_again()
                again, newer = await self._take(stack)
            except BaseException:
                response.close()
                raise
            if again.authorization == identity.authorization and newer is sessions:
                return response
            response.close()
        return await self._send_once(again, newer, call, limits, watch=watch)

    async def within(self, call: Call, work: Any, seconds: float) -> Any:
        """What a piece of the call's work comes to in that many seconds."""
        try:
            with self.translated(call):
                async with asyncio.timeout(seconds):
                    return await work
        except (ApiTimeoutError, asyncio.CancelledError):
            # aiohttp now closes the connection by itself, over TLS politely and in the background.
            self.cut_off = self.cut_off or self.credentials.host.startswith("https")
            raise

    @contextmanager
    def translated(self, call: Call) -> Iterator[None]:
        """Failures of aiohttp and of the socket as errors of this package."""
        what = f"{call.method} {self.credentials.host}{call.path}"
        try:
            yield
        except TimeoutError as error:
            crowded = self.calls > CALL_CONNECTIONS
            crowd = f"; {self.calls} calls share {CALL_CONNECTIONS} connections" if crowded else ""
            raise ApiTimeoutError(f"{what}: no answer in time{crowd}") from error
        except (self.failures.client, OSError) as error:
            if isinstance(error, self.failures.lost) or getattr(error, "errno", None) in BROKEN:
                raise ApiConnectionLostError(f"{what}: the connection broke ({error})") from error
            raise ApiConnectionError(f"{what}: {error or type(error).__name__}") from error
        except RuntimeError as error:
            # What aiohttp calls it when the session was closed under a request or under a stream being read.
            raise ApiConnectionLostError(f"{what}: the connection was closed ({error})") from error
        except asyncio.CancelledError as error:
            if is_asked_to_end():
                raise
            # And what comes of it while a name is resolved or a connection waited for. Let through, it would end the
            # task that asked, as if somebody had meant that.
            raise ApiConnectionLostError(f"{what}: the connection was closed") from error

    async def _take(self, stack: AsyncExitStack) -> tuple[Identity, Sessions]:
        identity = await self.credentials.identity()
        sessions = await self.connections.current(identity)
        await stack.enter_async_context(sessions.used())
        return identity, sessions

    async def _send_once(self, identity: Identity, sessions: Sessions, call: Call, limits: Any, *, watch: bool) -> Any:
        await self._wait_turn(call)
        if call.permit is not None:
            call.permit()
        sending = (sessions.watches if watch else sessions.calls).request(
            call.method,
            self.credentials.host + call.path,
            query_params=dict(call.query) if call.query else None,
            headers=self._headers(identity, call),
            body=call.body,
            _preload_content=False,
            _request_timeout=limits,
        )
        code = "<error>"
        try:
            response = await self.within(call, sending, call.begin_s)
            code = str(response.status)
        finally:
            if self.metrics is not None:
                self.metrics.requests.labels(code, call.method, self.host_label).inc()
        return response

    async def _wait_turn(self, call: Call) -> None:
        if self.limit is None:
            return
        since = self.clock.monotonic()
        await self.limit.wait()
        if self.measure is not None:
            self.measure.limiter.labels(call.method, self.host_label).observe(self.clock.monotonic() - since)

    def _headers(self, identity: Identity, call: Call) -> dict[str, str]:
        headers = {"Accept": call.accept, "Content-Type": call.content_type, "User-Agent": self.user_agent}
        if identity.authorization:
            headers["Authorization"] = identity.authorization
        return headers
