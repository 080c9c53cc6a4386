"""Serves /metrics: plain on a machine of one's own, over TLS and to known readers alone in a cluster (MG6)."""

from __future__ import annotations

import asyncio

from aiohttp import web
from attrs import define, field

from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.server import healthz
from kaito_controller.machinery.server.access import Access
from kaito_controller.machinery.server.certificates import Certificate
from kaito_controller.machinery.server.endpoint import Endpoint, Handler, text

PATH = "/metrics"
FLAG = "--metrics-bind-address"


@define(kw_only=True)
class MetricsServer:
    """The endpoint of /metrics, and of what else its readers may see.

    Args:
        access: decides on each request; None serves everybody.
        certificate: makes it HTTPS; None serves plain HTTP.
    """

    host: str
    port: int
    metrics: Metrics
    access: Access | None = None
    certificate: Certificate | None = None
    _routes: dict[str, Handler] = field(init=False)
    _endpoint: Endpoint | None = field(init=False, default=None)
    _renewing: asyncio.Task[None] | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._routes = {PATH: self._guarded(healthz.exposition(self.metrics.registry))}

    def add_handler(self, path: str, handler: Handler) -> None:
        """Serve something else beside the metrics, to the same readers.

        Raises:
            ValueError: the path is taken; /metrics always is.
            RuntimeError: the server runs already.
        """
        if path in self._routes:
            raise ValueError(f"{path}: the metrics server has a handler of that path; choose another one")
        if self._endpoint is not None:
            raise RuntimeError(f"{path}: the metrics server runs already; add handlers before")
        self._routes[path] = self._guarded(handler)

    async def start(self) -> int:
        """Listen, and return the port. Raises AddressInUseError."""
        tls = self.certificate.context if self.certificate is not None else None
        self._endpoint = Endpoint(flag=FLAG, host=self.host, port=self.port, routes=self._routes, tls=tls)
        port = await self._endpoint.start()
        if self.certificate is not None:
            self._renewing = asyncio.create_task(self.certificate.run(), name="metrics certificate")
        return port

    async def stop(self) -> None:
        """Stop listening."""
        if self._renewing is not None:
            self._renewing.cancel()
            # However it ended: the port is to be given back all the same.
            await asyncio.gather(self._renewing, return_exceptions=True)
        if self._endpoint is not None:
            await self._endpoint.stop()

    def _guarded(self, handler: Handler) -> Handler:
        access = self.access
        if access is None:
            return handler

        async def serve(request: web.Request) -> web.StreamResponse:
            refusal = await access.refusal(request.headers.get("Authorization", ""), request.method, request.path)
            return text(refusal.status, f"{refusal.text}\n") if refusal is not None else await handler(request)

        return serve
