"""The fake API server on a TCP port of this machine: the same core behind aiohttp, in real time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web

from kaito_controller.machinery import codec
from kaito_controller.testing.fake import status
from kaito_controller.testing.fake.request import JSON, Request, Response
from kaito_controller.testing.fake.server import FakeServer
from kaito_controller.testing.fake.transport import encoded
from kaito_controller.testing.fake.watch import Watch

_LOOPBACK = "127.0.0.1"
_BODY_LIMIT = 3 * 1024 * 1024
"""Bytes of a body that a kube-apiserver takes at most."""


@asynccontextmanager
async def serve_http(server: FakeServer) -> AsyncIterator[str]:
    """Serve on a free port of loopback for as long as the context lasts; yields the URL."""

    async def handle(incoming: web.Request) -> web.StreamResponse:
        request = await _request(server, incoming)
        if isinstance(request, Response):
            return _plain(request)
        response = await server.handle(request)
        if response.stream is None:
            return _plain(response)
        return await _stream(incoming, response.stream)

    application = web.Application(client_max_size=_BODY_LIMIT)
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, _LOOPBACK, 0)
    await site.start()
    try:
        yield f"http://{_LOOPBACK}:{_port(runner)}"
    finally:
        server.cut_watches()
        await runner.cleanup()


def kubeconfig(url: str, token: str = "") -> dict[str, Any]:
    """A kubeconfig that leads there."""
    user = {"token": token} if token else {}
    context = {"cluster": "fake", "user": "fake"}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "fake", "cluster": {"server": url}}],
        "users": [{"name": "fake", "user": user}],
        "contexts": [{"name": "fake", "context": context}],
        "current-context": "fake",
    }


async def _request(server: FakeServer, incoming: web.Request) -> Request | Response:
    data = await incoming.read()
    body: Any = None
    if data:
        try:
            body = codec.loads(data)
        except ValueError as error:
            refusal = status.bad_request(f"the object provided is unrecognized: {error}")
            return Response(status=refusal.code, body=refusal.body)
    kind, _, token = incoming.headers.get("Authorization", "").partition(" ")
    return Request(
        method=incoming.method,
        path=incoming.path,
        query=dict(incoming.query),
        body=body,
        content_type=incoming.headers.get("Content-Type", JSON),
        accept=incoming.headers.get("Accept", JSON),
        user_agent=incoming.headers.get("User-Agent", ""),
        token=token if kind == "Bearer" else "",
        at=server.clock.monotonic(),
    )


def _plain(response: Response) -> web.Response:
    text = isinstance(response.body, str)
    return web.Response(
        status=response.status,
        body=encoded(response.body),
        headers=dict(response.headers),
        content_type="text/plain" if text else JSON,
    )


async def _stream(incoming: web.Request, watch: Watch) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": JSON, "Cache-Control": "no-cache, private"})
    answer.enable_chunked_encoding()
    try:
        await answer.prepare(incoming)
        # A client that went away is noticed when the next event is written, or by the end of the watch.
        with suppress(ConnectionResetError):
            while (event := await watch.next()) is not None:
                await answer.write(codec.dumps(event) + b"\n")
            await answer.write_eof()
    finally:
        watch.close()
    return answer


def _port(runner: web.AppRunner) -> int:
    port: int = runner.addresses[0][1]
    return port
