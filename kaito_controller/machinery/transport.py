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
import importlib.util
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from http import HTTPStatus
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol, Self

from attrs import frozen
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery import codec
from kaito_controller.machinery.backoff import TokenBucket
from kaito_controller.machinery.clock import Clock, RealClock
from kaito_controller.machinery.errors import (
    ApiConnectionError,
    ApiConnectionLostError,
    ApiError,
    ApiTimeoutError,
    ConfigurationError,
)
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import Metrics

ATTEMPTS = 10
"""Tries of one call, as client-go makes (RC2)."""
CALL_CONNECTIONS = 32
OPENING_S = 30
"""Seconds until a stream must have been answered."""
TOKEN_AGE_S = 50.0
"""A token file is read again after a minute less ten seconds (RC3)."""
RELOAD_PAUSE_S = 10.0
BROKEN = {errno.ECONNRESET, errno.EPIPE}
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
        timeout_s: float = 30,
        retry: bool = True,
    ) -> Object:
        """One call. With `retry`, 429 and 5xx answers that carry Retry-After are waited out.

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
        self._kubeconfig = os.fspath(kubeconfig) if kubeconfig else None
        self._context = context
        self._clock: Clock = clock or RealClock()
        self._metrics = metrics
        self._limit = TokenBucket(clock=self._clock, rate=qps, burst=max(burst, 1)) if qps > 0 else None
        self._user_agent = user_agent
        self._library = _load()
        self._configuration: Any = None
        self._calls: Any = None
        self._watches: Any = None
        self._token_read_at = 0.0
        self._opening = asyncio.Lock()
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
        """
        if self._watches is not None and not self._closed:
            return
        async with self._opening:
            if self._closed:
                raise ApiConnectionError("the transport is closed")
            if self._watches is not None:
                return
            self._configuration = await self._configure()
            try:
                self._calls = self._library.rest(self._configuration, maxsize=CALL_CONNECTIONS)
                self._watches = self._library.rest(self._configuration, maxsize=0)
            except (OSError, ValueError) as error:
                raise ConfigurationError(f"{self._source}: the certificates cannot be used ({error})") from error

    async def close(self) -> None:
        """Close the connections."""
        self._closed = True
        for rest in (self._calls, self._watches):
            if rest is not None:
                await rest.close()

    @property
    def host(self) -> str:
        """The URL of the API server; empty before `open`."""
        return str(self._configuration.host) if self._configuration is not None else ""

    @property
    def in_cluster(self) -> bool:
        """Whether the credentials are those of the Pod's service account."""
        chosen = self._kubeconfig or os.environ.get("KUBECONFIG")
        return not chosen and bool(os.environ.get("KUBERNETES_SERVICE_HOST"))

    @property
    def _source(self) -> str:
        return "in-cluster configuration" if self.in_cluster else f"kubeconfig {self._kubeconfig_path}"

    @property
    def _kubeconfig_path(self) -> str:
        return self._kubeconfig or os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        timeout_s: float = 30,
        retry: bool = True,
    ) -> Object:
        """One call, tried again when the server asks for it or when a read lost its connection."""
        call = _Call(method=method, path=path, query=query, body=body, content_type=content_type)

        async def attempt() -> Object:
            return await self._attempt(call, timeout_s)

        if not retry:
            return await attempt()
        retrying = AsyncRetrying(
            sleep=self._clock.sleep,
            retry=retry_if_exception(lambda error: _is_worth_another_try(method, error)),
            wait=_wait_s,
            stop=stop_after_attempt(ATTEMPTS),
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
        idle_timeout_s: float | None = None,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a long answer on the sessions of watches."""
        await self.open()
        limits = self._library.timeout(total=None, sock_connect=5, sock_read=idle_timeout_s)
        call = _Call(method=method, path=path, query=query)
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
        credentials = dict(self._configuration.api_key)
        response = await self._send_once(rest, call, limits, opening_s)
        if response.status == HTTPStatus.UNAUTHORIZED and await self._reload(credentials):
            response.close()
            response = await self._send_once(rest, call, limits, opening_s)
        return response

    async def _send_once(self, rest: Any, call: _Call, limits: Any, opening_s: float) -> Any:
        if self._limit is not None:
            await self._limit.wait()
        await self._renew_token()
        sending = rest.request(
            call.method,
            self.host + call.path,
            query_params=dict(call.query) if call.query else None,
            headers=self._headers(call.content_type),
            body=call.body,
            _preload_content=False,
            _request_timeout=limits,
        )
        response = await self._within(call, sending, opening_s)
        if self._metrics is not None:
            self._metrics.requests.labels(str(response.status), call.method, self._host_label).inc()
        return response

    def _headers(self, content_type: str) -> dict[str, str]:
        headers = {"Accept": "application/json", "Content-Type": content_type, "User-Agent": self._user_agent}
        token = self._configuration.api_key.get("BearerToken")
        if token:
            headers["Authorization"] = str(token).strip()
        return headers

    async def _within(self, call: _Call, work: Any, seconds: float) -> Any:
        with self._translated(call):
            async with asyncio.timeout(seconds):
                return await work

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
            raise ApiConnectionError(f"{what}: {error or type(error).__name__}") from error

    @property
    def _host_label(self) -> str:
        return self.host.partition("://")[2]

    def _count_retry(self, method: str, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        code = str(error.status) if isinstance(error, ApiError) else "<error>"
        log.debug("request is tried again", method=method, error=str(error))
        if self._metrics is not None:
            self._metrics.retries.labels(code, method, self._host_label).inc()

    async def _configure(self) -> Any:
        """A configuration as kubernetes_asyncio's loaders fill it in."""
        configuration = self._library.configuration()
        self._token_read_at = self._clock.monotonic()
        if not self.in_cluster:
            _require_file(self._source, self._kubeconfig_path)
        try:
            if self.in_cluster:
                self._library.in_cluster(client_configuration=configuration, try_refresh_token=False)
            else:
                await self._library.kubeconfig(
                    config_file=self._kubeconfig_path,
                    context=self._context,
                    client_configuration=configuration,
                    persist_config=False,
                )
        except Exception as error:
            # The loader raises whatever it stumbles on: KeyError, TypeError, YAML and base64 errors among others.
            text = " ".join(str(error).split())
            raise ConfigurationError(f"{self._source}: cannot be used ({text or type(error).__name__})") from error
        return configuration

    async def _renew_token(self) -> None:
        """Read the service account's token again before it can have expired; a failure keeps the old one."""
        if self.in_cluster and self._clock.monotonic() - self._token_read_at > TOKEN_AGE_S:
            await self._reread()

    async def _reload(self, refused: Mapping[str, str]) -> bool:
        """After a 401: whether there are other credentials than those refused, reading them again if need be."""
        if self._configuration.api_key == refused and self._clock.monotonic() - self._token_read_at > RELOAD_PAUSE_S:
            await self._reread()
        return bool(self._configuration.api_key != refused)

    async def _reread(self) -> None:
        try:
            fresh = await self._configure()
        except ConfigurationError as error:
            log.warning("credentials cannot be read again; the old ones stay in use", error=str(error))
        else:
            self._configuration.api_key = fresh.api_key


def _require_file(source: str, paths: str) -> None:
    if not any(Path(path).expanduser().is_file() for path in paths.split(os.pathsep) if path):
        raise ConfigurationError(f"{source}: no such file; name one with --kubeconfig or $KUBECONFIG")


def _is_worth_another_try(method: str, error: BaseException) -> bool:
    if isinstance(error, ApiError):
        return error.retry_after_s is not None and (
            error.status == HTTPStatus.TOO_MANY_REQUESTS or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        )
    # A connection that broke says nothing of whether a write was done; a read may simply be repeated.
    return method == "GET" and isinstance(error, ApiConnectionLostError)


def _wait_s(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return (error.retry_after_s or 0.0) if isinstance(error, ApiError) else 1.0


def _refusal(response: Any, data: bytes) -> ApiError:
    header = response.headers.get("Retry-After", "")
    retry_after_s = float(header) if header.isdigit() else None
    try:
        status = codec.loads(data)
    except ValueError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        error = ApiError.from_status(status, response.status)
        error.retry_after_s = retry_after_s
        return error
    text = data.decode(errors="replace").strip()[:200] or str(response.reason)
    return ApiError(response.status, str(response.reason or ""), text, None, retry_after_s)


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
    """Import the parts of kubernetes_asyncio that are used, without the package's own 770 models.

    A package's `__init__` runs only when the package is not in `sys.modules`; a module made from its spec has the
    `__path__` that its submodules need. The hollow packages are taken out again afterwards, so that whoever imports
    kubernetes_asyncio in this process later gets it whole.
    """
    import aiohttp

    with _hollow("kubernetes_asyncio"), _hollow("kubernetes_asyncio.client") as client:
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


@contextmanager
def _hollow(package: str) -> Iterator[ModuleType | None]:
    """Have a package in `sys.modules` without running its `__init__`; None when somebody has imported it already."""
    if package in sys.modules:
        yield None
        return
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ConfigurationError(f"the Python package {package} is not installed")
    module = importlib.util.module_from_spec(spec)
    sys.modules[package] = module
    try:
        yield module
    finally:
        del sys.modules[package]
