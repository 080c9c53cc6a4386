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
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery import codec
from kaito_controller.machinery.backoff import TokenBucket
from kaito_controller.machinery.clock import Clock, RealClock
from kaito_controller.machinery.errors import ApiConnectionError, ApiError, InvalidAnswerError
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.rest import retry as retries
from kaito_controller.machinery.rest.connections import Connections
from kaito_controller.machinery.rest.credentials import SERVICE_ACCOUNT, Credentials, Loaded
from kaito_controller.machinery.rest.hollow import hollow
from kaito_controller.machinery.rest.kubeconfig import loader_class
from kaito_controller.machinery.rest.metrics import RequestMetrics
from kaito_controller.machinery.rest.proxy import proxy_of_environment
from kaito_controller.machinery.rest.sockets import hang_up, keep_alive
from kaito_controller.machinery.rest.straight import Straight
from kaito_controller.machinery.rest.tracing import trace
from kaito_controller.machinery.rest.user_agent import user_agent as introduction
from kaito_controller.machinery.rest.wire import OPENING_S, Call, Failures, Wire

READ_BUFFER_BYTES = 2**21
"""What the library gives its sessions, for the sake of large objects."""
GOODBYE_S = 0.25
"""How long `close` waits for TLS goodbyes of calls that were cut off, as aiohttp advises; nothing tells their end."""

log = logger(__name__)
T = TypeVar("T")


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
        self._library = _Library()
        path = os.fspath(kubeconfig) if kubeconfig else None
        self._credentials = Credentials(self._library, self._clock, path, context, service_account)
        self._connections = Connections(credentials=self._credentials, clock=self._clock, factory=self._rest_client)
        self._wire = Wire(
            credentials=self._credentials,
            connections=self._connections,
            failures=self._library.failures,
            clock=self._clock,
            user_agent=user_agent or introduction("kaito-controller"),
            limit=TokenBucket(clock=self._clock, rate=qps, burst=max(burst, 1)) if qps > 0 else None,
            metrics=metrics,
            measure=measure,
        )
        self._opening = asyncio.Lock()
        self._opened = False
        self._closed = False

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Load the configuration and make the sessions, once. Nothing is sent yet.

        Raises:
            ConfigurationError: the configuration cannot be used.
            ApiConnectionError: it is closed, or was while this went on.
        """
        if self._opened and not self._closed:
            return
        async with self._opening:
            self._require_not_closed()
            if not self._opened:
                await self._credentials.load()
                # Sessions that are made after the close are closed by nobody.
                self._require_not_closed()
                self._connections.open()
                self._opened = True

    async def close(self) -> None:
        """Close the connections."""
        self._closed = True
        await self._connections.close()
        if self._wire.cut_off:
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
        permit: Callable[[], None] | None = None,
    ) -> Object:
        """One call, tried again when the server asks for it or when a read lost its connection.

        `permit` is called right before each time that it is sent, and may raise.
        """
        call = Call(
            method=method,
            path=path,
            query=query,
            body=body,
            content_type=content_type,
            accept=accept,
            begin_s=timeout_s,
            permit=permit,
        )
        started = self._clock.monotonic()
        try:
            return await self._tried(call, lambda: self._attempt(call), retry=retry)
        finally:
            if self._measure is not None:
                seconds = self._clock.monotonic() - started
                self._measure.duration.labels(method, self._wire.host_label).observe(seconds)

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
        call = Call(method=method, path=path, query=query, accept=accept)
        response, stack = await self._tried(call, lambda: self._open_stream(call, idle_timeout_s), retry=True)
        async with stack:
            yield self._chunks(call, response)

    def _require_not_closed(self) -> None:
        if self._closed:
            raise ApiConnectionError("the transport is closed")

    async def _open_stream(self, call: Call, idle_timeout_s: float | None) -> tuple[Any, AsyncExitStack]:
        await self.open()
        limits = self._library.timeout(total=None, sock_connect=5, sock_read=idle_timeout_s)
        async with AsyncExitStack() as stack:
            response = await self._wire.send(stack, call, limits, watch=True)
            stack.callback(hang_up, response)
            if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise _refusal(response, await self._wire.within(call, response.read(), OPENING_S))
            keep_alive(response)
            return response, stack.pop_all()

    async def _chunks(self, call: Call, response: Any) -> AsyncIterator[bytes]:
        with self._wire.translated(call):
            content = response.content
            while not content.at_eof():
                # No name holds on to a chunk while the next is waited for: an idle watch would keep megabytes.
                yield await content.readany()

    async def _tried(self, call: Call, attempt: Callable[[], Awaitable[T]], *, retry: bool) -> T:
        """What the first attempt that is not worth another one comes to."""
        tries = 0

        async def counted() -> T:
            nonlocal tries
            tries += 1
            code = "<error>"
            try:
                answer = await attempt()
            except (ApiError, ApiConnectionError) as error:
                code = str(error.status) if isinstance(error, ApiError) else code
                log.debug("a request failed", method=call.method, path=call.path, error=str(error), attempt=tries)
                raise
            else:
                code = "200"
                return answer
            finally:
                if tries > 1 and self._metrics is not None:
                    self._metrics.retries.labels(code, call.method, self._wire.host_label).inc()

        return await (retries.send_again(counted, method=call.method, clock=self._clock) if retry else counted())

    async def _attempt(self, call: Call) -> Object:
        await self.open()
        limits = self._library.timeout(total=call.begin_s, sock_connect=5)
        self._wire.calls += 1
        try:
            async with AsyncExitStack() as stack:
                response = await self._wire.send(stack, call, limits)
                await stack.enter_async_context(response)
                data = await self._wire.within(call, response.read(), call.begin_s)
        finally:
            self._wire.calls -= 1
        if self._measure is not None:
            self._measure.response_size.labels(call.method, self._wire.host_label).observe(len(data))
        if response.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise _refusal(response, data)
        try:
            answer: Object = codec.loads(data) if data else {}
        except ValueError as error:
            text = f"{call.method} {call.path}: the answer is no JSON ({data[:80]!r}...)"
            raise InvalidAnswerError(response.status, text, data) from error
        return answer

    def _rest_client(self, configuration: Any, size: int) -> Any:
        client = self._library.client(configuration, size)
        if self._measure is not None:
            measuring = trace(self._measure, self._clock, self._wire.host_label, sizes=size > 0)
            client.pool_manager.trace_configs.append(measuring)
        return client


def _refusal(response: Any, data: bytes) -> ApiError:
    return retries.refusal(response.status, str(response.reason or ""), response.headers, data)


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
        self._rest = RESTClientObject
        self._session = aiohttp.ClientSession
        self.timeout = aiohttp.ClientTimeout
        lost = (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError)
        self.failures = Failures(client=aiohttp.ClientError, tls=aiohttp.ClientSSLError, lost=lost)

    def client(self, configuration: Any, size: int) -> Any:
        """A REST client with that many connections at most, 0 for no limit.

        Its session would look for a proxy and for a .netrc at every request, in two threads: more than half of what a
        request costs us (0.65 of 1.2 ms, measured with aiohttp 3). The environment does not change: it is asked once.
        """
        client: Any = self._rest(configuration, maxsize=size)
        asking = client.pool_manager
        session = self._session(connector=asking.connector, trust_env=False, read_bufsize=READ_BUFFER_BYTES)
        client.pool_manager = Straight(session)
        asking.detach()
        client.proxy = client.proxy or proxy_of_environment(configuration.host)
        return client

    def in_cluster(self, folder: Path) -> Loaded:
        """The Pod's service account."""
        configuration = self._configuration()
        files = {"token_filename": str(folder / "token"), "cert_filename": str(folder / "ca.crt")}
        self._in_cluster.load_incluster_config(configuration, try_refresh_token=False, **files)
        return Loaded(configuration=configuration, token_file=folder / "token")

    async def kubeconfig(self, paths: str, context: str | None) -> Loaded:
        """A kubeconfig; what its user has in a token file or from an exec plugin is left for later."""
        loader = loader_class(self._kube_config)(
            self._kube_config.KubeConfigMerger(paths).config, active_context=context, config_base_path=None
        )
        configuration = self._configuration()
        await loader.load_and_set(configuration)
        return Loaded(configuration=configuration, token_file=loader.token_file, plugin=loader.plugin)
