"""The one way to an API server: kubernetes_asyncio's configuration loaders and REST client, on aiohttp.

What is added: the HTTP status is checked (the client does not, on streams), connections of calls and of watches are
apart, silence on a stream ends it, the server's Retry-After is obeyed, and tokens are read again when they rotate.

`import kubernetes_asyncio.client` imports some 770 model classes: 103 MB resident and 2.3 s, measured on CPython 3.11
with kubernetes_asyncio 36.1.0. Entered as `_load` does, through the submodules that are used, a process has 40 MB
resident after 0.6 s, of which aiohttp is 28 and kubernetes_asyncio 2; with everything else that this module needs, 47.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, Protocol, Self

from attrs import frozen
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery import codec
from kaito_controller.machinery import retry as retries
from kaito_controller.machinery.backoff import TokenBucket
from kaito_controller.machinery.clock import Clock, RealClock
from kaito_controller.machinery.credentials import Credentials
from kaito_controller.machinery.errors import (
    ApiConnectionError,
    ApiConnectionLostError,
    ApiConnectionRefusedError,
    ApiError,
    ApiTimeoutError,
    ConfigurationError,
)
from kaito_controller.machinery.hollow import hollow
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import Metrics

CALL_CONNECTIONS = 32
OPENING_S = 30
"""Seconds until a stream must have been answered."""
BROKEN = {errno.ECONNRESET, errno.EPIPE}
GOODBYE_S = 0.25
"""How long `close` waits for TLS goodbyes of calls that were cut off, as aiohttp advises; nothing tells their end."""
KEEPALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 9}
"""Seconds, seconds and probes until the kernel gives a dead peer up (RF22)."""

log = logger(__name__)


@frozen(kw_only=True)
class _Call:
    """One request as handed in."""

    method: str
    path: str
    query: Mapping[str, str] | None = None
    body: Object | None = None
    content_type: str = "application/json"
    accept: str = "application/json"


class Transport(Protocol):
    """Requests to one API server, as decoded JSON and as byte streams."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout_s: float = 30,
        retry: bool = True,
    ) -> Object:
        """One call. With `retry`, 429 and 5xx answers that carry Retry-After are waited out.

        `accept` asks for another form of the answer, such as metadata alone or aggregated discovery.

        Raises:
            ApiError: the server refused.
            ApiConnectionError: no answer came (`ApiTimeoutError`: not in time).
        """
        ...

    def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
        idle_timeout_s: float | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open a long answer and yield its bytes as they come; the end of iteration is the end of the answer.

        Raises, on entering and while iterating:
            ApiError: the server refused to open it.
            ApiConnectionError: the connection failed, or was silent for `idle_timeout_s` seconds.
        """
        ...

    async def close(self) -> None:
        """Close the connections. The transport cannot be used afterwards."""
        ...


class AioTransport:
    """The transport of a running operator.

    Args:
        kubeconfig: path of a kubeconfig; None takes the Pod's service account when there is one, else what
            `$KUBECONFIG` names, else `~/.kube/config`.
        context: the kubeconfig's context to use; None takes its current one.
        qps: requests a second in the long run; 0 leaves limiting to the server's priority and fairness (RC1).
        burst: requests at once above `qps`.
    """

    def __init__(
        self,
        *,
        kubeconfig: str | os.PathLike[str] | None = None,
        context: str | None = None,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        qps: float = 0,
        burst: int = 0,
        user_agent: str = "kaito-controller",
    ) -> None:
        self._clock: Clock = clock or RealClock()
        self._metrics = metrics
        self._limit = TokenBucket(clock=self._clock, rate=qps, burst=max(burst, 1)) if qps > 0 else None
        self._user_agent = user_agent
        self._library = _load()
        path = os.fspath(kubeconfig) if kubeconfig else None
        self._credentials = Credentials(self._library, self._clock, path, context)
        self._calls: Any = None
        self._watches: Any = None
        self._opening = asyncio.Lock()
        self._closed = False
        self._cut_off = False

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Load the configuration and make the sessions, once. Nothing is sent yet.

        Raises:
            ConfigurationError: the configuration cannot be used.
        """
        if self._watches is not None and not self._closed:
            return
        async with self._opening:
            if self._closed:
                raise ApiConnectionError("the transport is closed")
            if self._watches is not None:
                return
            await self._credentials.load()
            configuration = self._credentials.configuration
            try:
                self._calls = self._library.rest(configuration, maxsize=CALL_CONNECTIONS)
                self._watches = self._library.rest(configuration, maxsize=0)
            except (OSError, ValueError) as error:
                source = self._credentials.source
                raise ConfigurationError(f"{source}: the certificates cannot be used ({error})") from error

    async def close(self) -> None:
        """Close the connections."""
        self._closed = True
        for rest in (self._calls, self._watches):
            if rest is not None:
                await rest.close()
        if self._cut_off:
            await self._clock.sleep(GOODBYE_S)

    @property
    def host(self) -> str:
        """The URL of the API server; empty before `open`."""
        return self._credentials.host

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout_s: float = 30,
        retry: bool = True,
    ) -> Object:
        """One call, tried again when the server asks for it or when a read lost its connection."""
        call = _Call(method=method, path=path, query=query, body=body, content_type=content_type, accept=accept)

        async def attempt() -> Object:
            return await self._attempt(call, timeout_s)

        if not retry:
            return await attempt()
        retrying = AsyncRetrying(
            sleep=self._clock.sleep,
            retry=retry_if_exception(lambda error: retries.is_worth_another_try(method, error)),
            wait=retries.wait_s,
            stop=stop_after_attempt(retries.ATTEMPTS),
            before_sleep=lambda state: self._count_retry(method, state),
            reraise=True,
        )
        answer: Object = await retrying(attempt)
        return answer

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
        idle_timeout_s: float | None = None,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a long answer on the sessions of watches."""
        await self.open()
        limits = self._library.timeout(total=None, sock_connect=5, sock_read=idle_timeout_s)
        call = _Call(method=method, path=path, query=query, accept=accept)
        response = await self._send(self._watches, call, limits, OPENING_S)
        try:
            if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise _refusal(response, await self._within(call, response.read(), OPENING_S))
            _keep_alive(response)
            yield self._chunks(call, response)
        finally:
            _hang_up(response)

    async def _chunks(self, call: _Call, response: Any) -> AsyncIterator[bytes]:
        with self._translated(call):
            async for chunk in response.content.iter_any():
                yield chunk

    async def _attempt(self, call: _Call, seconds: float) -> Object:
        await self.open()
        limits = self._library.timeout(total=seconds, sock_connect=5)
        response = await self._send(self._calls, call, limits, seconds)
        async with response:
            data = await self._within(call, response.read(), seconds)
        if response.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise _refusal(response, data)
        try:
            return codec.loads(data) if data else {}
        except ValueError as error:
            text = f"{call.method} {call.path}: the answer is no JSON ({data[:80]!r}...)"
            raise ApiError(response.status, "InvalidAnswer", text) from error

    async def _send(self, rest: Any, call: _Call, limits: Any, opening_s: float) -> Any:
        """Send one request and return the opened answer; a 401 is tried once more with freshly read credentials."""
        used = self._credentials.authorization
        response = await self._send_once(rest, call, limits, opening_s)
        if response.status == HTTPStatus.UNAUTHORIZED and await self._credentials.replace(used):
            response.close()
            response = await self._send_once(rest, call, limits, opening_s)
        return response

    async def _send_once(self, rest: Any, call: _Call, limits: Any, opening_s: float) -> Any:
        if self._limit is not None:
            await self._limit.wait()
        await self._credentials.renew()
        sending = rest.request(
            call.method,
            self.host + call.path,
            query_params=dict(call.query) if call.query else None,
            headers=self._headers(call),
            body=call.body,
            _preload_content=False,
            _request_timeout=limits,
        )
        response = await self._within(call, sending, opening_s)
        if self._metrics is not None:
            self._metrics.requests.labels(str(response.status), call.method, self._host_label).inc()
        return response

    def _headers(self, call: _Call) -> dict[str, str]:
        headers = {"Accept": call.accept, "Content-Type": call.content_type, "User-Agent": self._user_agent}
        if self._credentials.authorization:
            headers["Authorization"] = self._credentials.authorization
        return headers

    async def _within(self, call: _Call, work: Any, seconds: float) -> Any:
        try:
            with self._translated(call):
                async with asyncio.timeout(seconds):
                    return await work
        except (ApiTimeoutError, asyncio.CancelledError):
            # aiohttp now closes the connection by itself, over TLS politely and in the background.
            self._cut_off = self._cut_off or self.host.startswith("https")
            raise

    @contextmanager
    def _translated(self, call: _Call) -> Iterator[None]:
        """Failures of aiohttp and of the socket, in our own words."""
        what = f"{call.method} {self.host}{call.path}"
        try:
            yield
        except TimeoutError as error:
            raise ApiTimeoutError(f"{what}: no answer in time") from error
        except (self._library.client_error, OSError) as error:
            if isinstance(error, self._library.disconnected) or getattr(error, "errno", None) in BROKEN:
                raise ApiConnectionLostError(f"{what}: the connection broke ({error})") from error
            if getattr(error, "errno", None) == errno.ECONNREFUSED:
                raise ApiConnectionRefusedError(f"{what}: {error}") from error
            raise ApiConnectionError(f"{what}: {error or type(error).__name__}") from error

    @property
    def _host_label(self) -> str:
        return self.host.partition("://")[2]

    def _count_retry(self, method: str, state: RetryCallState) -> None:
        error = retries.failure(state)
        code = str(error.status) if isinstance(error, ApiError) else "<error>"
        log.debug("request is tried again", method=method, error=str(error))
        if self._metrics is not None:
            self._metrics.retries.labels(code, method, self._host_label).inc()


def _refusal(response: Any, data: bytes) -> ApiError:
    return retries.refusal(response.status, str(response.reason or ""), response.headers, data)


def _keep_alive(response: Any) -> None:
    """Let the kernel find out about a peer that vanished without a word."""
    connection = response.connection
    sock = connection.transport.get_extra_info("socket") if connection and connection.transport else None
    if sock is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _hang_up(response: Any) -> None:
    """End a stream now: a TLS goodbye would be sent later, by a loop that may be closed by then."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


class _ApiClient:
    """Stands in for kubernetes_asyncio's ApiClient, which its config loaders import and only their helpers use."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        from kubernetes_asyncio.client.api_client import ApiClient

        return ApiClient(*args, **kwargs)


def _load() -> SimpleNamespace:
    """Import the parts of kubernetes_asyncio that are used, without the package's own 770 models."""
    import aiohttp

    with hollow("kubernetes_asyncio"), hollow("kubernetes_asyncio.client") as client:
        from kubernetes_asyncio.client.configuration import Configuration
        from kubernetes_asyncio.client.rest import RESTClientObject

        if client is not None:
            vars(client).update(Configuration=Configuration, ApiClient=_ApiClient)
        from kubernetes_asyncio.config.incluster_config import load_incluster_config
        from kubernetes_asyncio.config.kube_config import load_kube_config
    return SimpleNamespace(
        configuration=Configuration,
        rest=RESTClientObject,
        in_cluster=load_incluster_config,
        kubeconfig=load_kube_config,
        timeout=aiohttp.ClientTimeout,
        client_error=aiohttp.ClientError,
        disconnected=(aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError),
    )
