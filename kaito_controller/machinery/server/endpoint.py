"""One listening address: routes, and TLS when asked for."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from attrs import define, field

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

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

    async def start(self) -> int:
        """Listen, and return the port (which the system chose when 0 was asked for). Raises AddressInUseError."""
        application = web.Application()
        for path, handler in self.routes.items():
            application.router.add_get(path, handler)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, self.host or None, self.port, reuse_address=True, ssl_context=self.tls)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise AddressInUseError(
                f"{self.flag}: cannot listen on {self.host or '*'}:{self.port} ({error.strerror}); choose another "
                "address, or 0 for none"
            ) from error
        self._runner = runner
        port: int = runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        """Stop listening; requests being answered are finished."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


def text(status: int, body: str, **headers: str) -> web.Response:
    """An answer for people and programs that read lines."""
    more: dict[str, Any] = {**TEXT_HEADERS, **headers}
    return web.Response(status=status, text=body, headers=more)
