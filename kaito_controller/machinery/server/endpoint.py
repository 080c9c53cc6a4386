"""One listening address: routes, and TLS when asked for."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from attrs import define, field

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

BACKLOG = 128
"""Connections that wait to be accepted; aiohttp's own figure."""
TEXT_HEADERS: Mapping[str, str] = {"X-Content-Type-Options": "nosniff"}


class AddressInUseError(OSError):
    """The address of a server is taken; the message names the flag to change."""


@define(kw_only=True)
class Endpoint:
    """One address with its routes, answered to GET and HEAD. It is started once and stopped once."""

    flag: str
    host: str
    port: int
    routes: Mapping[str, Handler]
    tls: ssl.SSLContext | None = None
    _runner: web.AppRunner | None = field(init=False, default=None)
    _server: asyncio.Server | None = field(init=False, default=None)

    async def start(self) -> int:
        """Listen, and return the port (which the system chose when 0 was asked for).

        Whoever cancels it calls `stop`.

        Raises:
            AddressInUseError: the address is taken, or is none of ours.
        """
        application = web.Application()
        for path, handler in self.routes.items():
            application.router.add_get(path, handler)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            server = await self._bind(self._runner.server)
        except OSError as error:
            await self.stop()
            raise AddressInUseError(
                f"{self.flag}: cannot listen on {self.host or '*'}:{self.port} ({error.strerror}); choose another "
                "address, or 0 for none"
            ) from error
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Stop listening; requests being answered are finished."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _bind(self, protocols: Any) -> asyncio.Server:
        # A web.TCPSite that is cancelled while it starts forgets the socket, which then listens until the process ends.
        self._server = server = await asyncio.get_running_loop().create_server(
            protocols,
            self.host or None,
            self.port,
            ssl=self.tls,
            reuse_address=True,
            backlog=BACKLOG,
            start_serving=False,
        )
        await server.start_serving()
        return server


def text(status: int, body: str, **headers: str) -> web.Response:
    """An answer for people and programs that read lines."""
    more: dict[str, Any] = {**TEXT_HEADERS, **headers}
    return web.Response(status=status, text=body, headers=more)
