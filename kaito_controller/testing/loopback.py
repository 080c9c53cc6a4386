"""An HTTP server on loopback with one handler, and a transport to it: what goes over the wire, for tests to see."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.transport import AioTransport

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ImpatientClock(RealClock):
    """The real clock, but waits are written down instead of spent, and its monotonic time can be put forward."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        """The machine's clock, and what it was put forward by."""
        return super().monotonic() + self.ahead_s

    async def sleep(self, seconds: float) -> None:
        """Write it down."""
        self.waits.append(seconds)
        await asyncio.sleep(0)


def write_kubeconfig(
    path: Path, server: str, user: Mapping[str, Any] | None = None, cluster: Mapping[str, Any] | None = None
) -> Path:
    """Write a kubeconfig with one context for a server, and return its path; the user has a token unless told."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "test", "user": dict(user) if user is not None else {"token": "sesame"}}],
    }
    path.write_text(json.dumps(content))
    return path


@asynccontextmanager
async def listening(
    handler: Handler, tls: ssl.SSLContext | None = None, *, address: str = "127.0.0.1"
) -> AsyncIterator[str]:
    """The URL of a server with one handler for every path, for as long as the context lasts.

    `address` is another of this machine's where pods of a local cluster are to reach it.
    """
    application = web.Application(client_max_size=0)
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, address, 0, ssl_context=tls).start()
    try:
        yield f"{'https' if tls else 'http'}://{address}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving(
    handler: Handler,
    folder: Path,
    user: Mapping[str, Any] | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    cluster: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[AioTransport]:
    """A transport to such a server, by a kubeconfig in `folder`; `options` are the transport's."""
    async with listening(handler, tls) as url:
        path = write_kubeconfig(folder / "kubeconfig", url, user, cluster)
        async with AioTransport(kubeconfig=path, **options) as transport:
            yield transport


def status(code: int, reason: str, message: str = "", **fields: Any) -> web.Response:
    """A refusal as an API server writes it."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason} | fields
    return web.json_response(body | {"message": message}, status=code)
