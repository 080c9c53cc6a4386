"""The one way to an API server: kubernetes_asyncio's configuration loaders and REST client, on aiohttp.

What is added: the HTTP status is checked (the client does not, on streams), connections of calls and of watches are
apart, silence on a stream ends it, the server's Retry-After is obeyed, and tokens and certificates are read again when
they rotate.

`import kubernetes_asyncio.client` imports some 770 model classes: 103 MB resident and 2.3 s, measured on CPython 3.11
with kubernetes_asyncio 36.1.0. Entered as `_Library` does, through the submodules that are used, a process has 40 MB
resident after 0.6 s, of which aiohttp is 28 and kubernetes_asyncio 2; with everything else that this module needs, 47.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from attrs import frozen

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery import codec
from kaito_controller.machinery import retry as retries
from kaito_controller.machinery.backoff import TokenBucket
from kaito_controller.machinery.clock import Clock, RealClock
from kaito_controller.machinery.credentials import SERVICE_ACCOUNT, Credentials, Identity, Loaded
from kaito_controller.machinery.errors import (
    ApiConnectionError,
    ApiConnectionLostError,
    ApiError,
    ApiTimeoutError,
)
from kaito_controller.machinery.hollow import hollow
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.rest.connections import Connections
from kaito_controller.machinery.rest.metrics import RequestMetrics
from kaito_controller.machinery.rest.sessions import CALL_CONNECTIONS, Sessions
from kaito_controller.machinery.rest.tracing import trace
from kaito_controller.machinery.rest.user_agent import user_agent as introduction

OPENING_S = 30
"""Seconds until a stream must have been answered."""
BROKEN = {errno.ECONNRESET, errno.EPIPE}
GOODBYE_S = 0.25
"""How long `close` waits for TLS goodbyes of calls that were cut off, as aiohttp advises; nothing tells their end."""
KEEPALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 9}
"""Seconds, seconds and probes until the kernel gives a dead peer up (RF22)."""

log = logger(__name__)
T = TypeVar("T")


@frozen(kw_only=True)
class _Call:
    """One request as handed in, and how long its answer may take to begin."""

    method: str
    path: str
    query: Mapping[str, str] | None = None
    body: Object | None = None
    content_type: str = "application/json"
    accept: str = "application/json"
    begin_s: float = OPENING_S


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

        Each try may take `timeout_s`; waits between tries come on top. `accept` asks for another form of the answer,
        such as metadata alone or aggregated discovery.

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
        qps: requests a second in the long run, watches among them; 0 leaves limiting to the server's priority and
            fairness (RC1).
        burst: requests at once above `qps`.
        user_agent: how the server is told who asks; see `rest.user_agent`.
        measure: durations and sizes, too, are measured with these.
        service_account: the folder with the Pod's token and certificate authority.
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
        user_agent: str = "",
        measure: RequestMetrics | None = None,
        service_account: Path = SERVICE_ACCOUNT,
    ) -> None:
        self._clock: Clock = clock or RealClock()
        self._metrics = metrics
        self._measure = measure
        self._limit = TokenBucket(clock=self._clock, rate=qps, burst=max(burst, 1)) if qps > 0 else None
        self._user_agent = user_agent or introduction("kaito-controller")
        self._library = _Library()
        path = os.fspath(kubeconfig) if kubeconfig else None
        self._credentials = Credentials(self._library, self._clock, path, context, service_account)
        self._connections = Connections(credentials=self._credentials, clock=self._clock, factory=self._rest_client)
        self._opening = asyncio.Lock()
        self._opened = False
        self._closed = False
        self._cut_off = False
        self._calls = 0

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
        if self._opened and not self._closed:
            return
        async with self._opening:
            if self._closed:
                raise ApiConnectionError("the transport is closed")
            if not self._opened:
                await self._credentials.load()
                self._connections.open()
                self._opened = True

    async def close(self) -> None:
        """Close the connections."""
        self._closed = True
        await self._connections.close()
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
        call = _Call(
            method=method,
            path=path,
            query=query,
            body=body,
            content_type=content_type,
            accept=accept,
            begin_s=timeout_s,
        )
        started = self._clock.monotonic()
        try:
            return await self._tried(call, lambda: self._attempt(call), retry=retry)
        finally:
            if self._measure is not None:
                seconds = self._clock.monotonic() - started
                self._measure.duration.labels(method, self._host_label).observe(seconds)

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
        """Open a long answer on the connections of watches."""
        call = _Call(method=method, path=path, query=query, accept=accept)
        response, stack = await self._tried(call, lambda: self._open_stream(call, idle_timeout_s), retry=True)
        async with stack:
            yield self._chunks(call, response)

    async def _open_stream(self, call: _Call, idle_timeout_s: float | None) -> tuple[Any, AsyncExitStack]:
        limits = self._library.timeout(total=None, sock_connect=5, sock_read=idle_timeout_s)
        async with AsyncExitStack() as stack:
            response = await self._send(stack, call, limits, watch=True)
            stack.callback(_hang_up, response)
            if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise _refusal(response, await self._within(call, response.read(), OPENING_S))
            _keep_alive(response)
            return response, stack.pop_all()

    async def _chunks(self, call: _Call, response: Any) -> AsyncIterator[bytes]:
        with self._translated(call):
            async for chunk in response.content.iter_any():
                yield chunk

    async def _tried(self, call: _Call, attempt: Callable[[], Awaitable[T]], *, retry: bool) -> T:
        """What the first attempt that is not worth another one comes to."""
        tries = 0

        async def counted() -> T:
            nonlocal tries
            tries += 1
            code = "200"
            try:
                return await attempt()
            except (ApiError, ApiConnectionError) as error:
                code = str(error.status) if isinstance(error, ApiError) else "<error>"
                log.debug("a request failed", method=call.method, path=call.path, error=str(error), attempt=tries)
                raise
            finally:
                if tries > 1 and self._metrics is not None:
                    self._metrics.retries.labels(code, call.method, self._host_label).inc()

        return await (retries.send_again(counted, method=call.method, clock=self._clock) if retry else counted())

    async def _attempt(self, call: _Call) -> Object:
        limits = self._library.timeout(total=call.begin_s, sock_connect=5)
        self._calls += 1
        try:
            async with AsyncExitStack() as stack:
                response = await self._send(stack, call, limits)
                await stack.enter_async_context(response)
                data = await self._within(call, response.read(), call.begin_s)
        finally:
            self._calls -= 1
        if self._measure is not None:
            self._measure.response_size.labels(call.method, self._host_label).observe(len(data))
        if response.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise _refusal(response, data)
        try:
            answer: Object = codec.loads(data) if data else {}
        except (ValueError, RecursionError) as error:
            text = f"{call.method} {call.path}: the answer is no JSON ({data[:80]!r}...)"
            raise ApiError(response.status, "InvalidAnswer", text) from error
        return answer

    async def _send(self, stack: AsyncExitStack, call: _Call, limits: Any, *, watch: bool = False) -> Any:
        """Send a request and return the opened answer, which holds on to its sessions until `stack` unwinds.

        What was not accepted, by the server (401) or of the server (its certificate), is sent once more if there are
        newer credentials or certificates; without them, it stands.
        """
        identity, sessions = await self._take(stack)
        try:
            response = await self._send_once(identity, sessions, call, limits, watch=watch)
        except ApiConnectionError as error:
            if not isinstance(error.__cause__, (ssl.SSLError, ssl.CertificateError, self._library.tls_error)):
                raise
            self._connections.look_again()
            again, newer = await self._take(stack)
            if newer is sessions:
                raise
        else:
            if response.status != HTTPStatus.UNAUTHORIZED:
                return response
            try:
                await self._credentials.refused(identity)
                self._connections.look_again()
                again, newer = await self._take(stack)
            except BaseException:
                response.close()
                raise
            if again.authorization == identity.authorization and newer is sessions:
                return response
            response.close()
        return await self._send_once(again, newer, call, limits, watch=watch)

    async def _take(self, stack: AsyncExitStack) -> tuple[Identity, Sessions]:
        await self.open()
        identity = await self._credentials.identity()
        sessions = await self._connections.current(identity)
        await stack.enter_async_context(sessions.used())
        return identity, sessions

    async def _send_once(self, identity: Identity, sessions: Sessions, call: _Call, limits: Any, *, watch: bool) -> Any:
        await self._wait_turn(call)
        sending = (sessions.watches if watch else sessions.calls).request(
            call.method,
            self.host + call.path,
            query_params=dict(call.query) if call.query else None,
            headers=self._headers(identity, call),
            body=call.body,
            _preload_content=False,
            _request_timeout=limits,
        )
        code = "<error>"
        try:
            response = await self._within(call, sending, call.begin_s)
            code = str(response.status)
        finally:
            if self._metrics is not None:
                self._metrics.requests.labels(code, call.method, self._host_label).inc()
        return response

    async def _wait_turn(self, call: _Call) -> None:
        if self._limit is None:
            return
        since = self._clock.monotonic()
        await self._limit.wait()
        if self._measure is not None:
            waited = self._clock.monotonic() - since
            self._measure.limiter.labels(call.method, self._host_label).observe(waited)

    def _headers(self, identity: Identity, call: _Call) -> dict[str, str]:
        headers = {"Accept": call.accept, "Content-Type": call.content_type, "User-Agent": self._user_agent}
        if identity.authorization:
            headers["Authorization"] = identity.authorization
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
            crowd = f"; {self._calls} calls share {CALL_CONNECTIONS} connections" if self._is_crowded else ""
            raise ApiTimeoutError(f"{what}: no answer in time{crowd}") from error
        except (self._library.client_error, OSError) as error:
            if isinstance(error, self._library.disconnected) or getattr(error, "errno", None) in BROKEN:
                raise ApiConnectionLostError(f"{what}: the connection broke ({error})") from error
            raise ApiConnectionError(f"{what}: {error or type(error).__name__}") from error
        except RuntimeError as error:
            # What aiohttp calls it when the session was closed under a request or under a stream being read.
            raise ApiConnectionLostError(f"{what}: the connection was closed ({error})") from error

    @property
    def _is_crowded(self) -> bool:
        return self._calls > CALL_CONNECTIONS

    @property
    def _host_label(self) -> str:
        return self.host.partition("://")[2]

    def _rest_client(self, configuration: Any, size: int) -> Any:
        client = self._library.rest(configuration, maxsize=size)
        if self._measure is not None:
            measuring = trace(self._measure, self._clock, self._host_label, sizes=size > 0)
            client.pool_manager.trace_configs.append(measuring)
        return client


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


class _Library:
    """The parts of kubernetes_asyncio and aiohttp that are used, without the former's own 770 models."""

    def __init__(self) -> None:
        import aiohttp

        with hollow("kubernetes_asyncio"), hollow("kubernetes_asyncio.client") as client:
            from kubernetes_asyncio.client.configuration import Configuration
            from kubernetes_asyncio.client.rest import RESTClientObject

            if client is not None:
                vars(client).update(Configuration=Configuration, ApiClient=_ApiClient)
            from kubernetes_asyncio.config import incluster_config, kube_config
        self._configuration = Configuration
        self._in_cluster = incluster_config
        self._kube_config = kube_config
        self.rest = RESTClientObject
        self.timeout = aiohttp.ClientTimeout
        self.client_error = aiohttp.ClientError
        self.tls_error = aiohttp.ClientSSLError
        self.disconnected = (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError)

    def in_cluster(self, folder: Path) -> Loaded:
        """The Pod's service account."""
        configuration = self._configuration()
        files = {"token_filename": str(folder / "token"), "cert_filename": str(folder / "ca.crt")}
        self._in_cluster.load_incluster_config(configuration, try_refresh_token=False, **files)
        return Loaded(configuration=configuration, token_file=folder / "token")

    async def kubeconfig(self, paths: str, context: str | None) -> Loaded:
        """A kubeconfig; what its user has in a token file or from an exec plugin is left for later."""
        loader = _kubeconfig_loader(self._kube_config)(
            self._kube_config.KubeConfigMerger(paths).config, active_context=context, config_base_path=None
        )
        configuration = self._configuration()
        await loader.load_and_set(configuration)
        return Loaded(configuration=configuration, token_file=loader.token_file, plugin=loader.plugin)


def _kubeconfig_loader(library: Any) -> Any:
    """The library's loader, without running exec plugins and reading token files: both are ours to repeat."""

    class Loader(library.KubeConfigLoader):  # type: ignore[misc]
        token_file: Path | None = None
        plugin: tuple[Mapping[str, Any], Path, Mapping[str, Any]] | None = None

        async def load_from_exec_plugin(self) -> bool:
            # As in client-go, credentials that are written down go before those of a program.
            written = ("token", "tokenFile", "username", "client-certificate", "client-certificate-data")
            if any(self._user.safe_get(name) for name in written):
                return False
            cluster = {
                name: self._cluster.safe_get(name)
                for name in ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url")
                if self._cluster.safe_get(name)
            }
            authority = library.FileOrData(
                self._cluster, "certificate-authority", file_base_path=self._get_base_path(self._cluster.path)
            ).as_data()
            if authority:
                cluster["certificate-authority-data"] = authority
            for extension in self._cluster.value.get("extensions") or ():
                if extension.get("name") == "client.authentication.k8s.io/exec":
                    cluster["config"] = extension.get("extension")
            self.plugin = (dict(self._user["exec"].value), Path(self._get_base_path(self._user.path)), cluster)
            return True

        def _load_user_token(self) -> bool:
            name = self._user.safe_get("tokenFile")
            if name:
                self.token_file = Path(self._get_base_path(self._user.path)) / str(name)
            token = self._user.safe_get("token")
            if token:
                self.token = f"Bearer {token}"
            return bool(name or token)

    return Loader
