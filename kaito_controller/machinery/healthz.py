"""The HTTP server for probes and metrics: /healthz, /readyz and /metrics, as kubelet and Prometheus ask for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web
from attrs import define, field
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

Check = Callable[[], str]
"""A check says what is wrong, or nothing (an empty text) when all is well. It must not block."""

_OK: Final = "ok"
_Handler = Callable[[web.Request], web.Response]


class AddressInUseError(OSError):
    """The address of a server is taken; the message names the flag to change."""


def report(
    checks: Mapping[str, Check], *, verbose: bool = False, exclude: frozenset[str] = frozenset()
) -> tuple[int, str]:
    """The answer to a probe: status code and body, as the API server's own endpoints word them (MG5).

    All is well: 200 and ``ok``, or with ``verbose`` a line a check. Otherwise 500 with a line a check, the failing ones
    with their reason.
    """
    lines, failed = [], False
    for name, check in checks.items():
        if name in exclude:
            lines.append(f"[+]{name} excluded: ok")
            continue
        problem = check()
        failed = failed or bool(problem)
        lines.append(f"[-]{name} failed: {problem}" if problem else f"[+]{name} ok")
    if failed:
        return 500, "\n".join([*lines, "check failed"]) + "\n"
    return 200, "\n".join([*lines, "check passed"]) + "\n" if verbose else _OK


@define(kw_only=True)
class Endpoint:
    """One listening address with its routes. An endpoint is started once and stopped once."""

    flag: str
    host: str
    port: int
    routes: Mapping[str, _Handler]
    _runner: web.AppRunner | None = field(init=False, default=None)

    async def start(self) -> int:
        """Listen, and return the port (which the system chose when 0 was asked for). Raises AddressInUseError."""
        application = web.Application()
        for path, handler in self.routes.items():
            application.router.add_get(path, _asynchronous(handler))
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, self.host or None, self.port, reuse_address=True)
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


def probes(flag: str, host: str, port: int, *, health: Mapping[str, Check], ready: Mapping[str, Check]) -> Endpoint:
    """The endpoint of /healthz and /readyz, each with all its checks and one path a check."""
    routes: dict[str, _Handler] = {}
    for path, checks in (("/healthz", health), ("/readyz", ready)):
        routes[path] = _probe(checks)
        for name, check in checks.items():
            routes[f"{path}/{name}"] = _probe({name: check})
    return Endpoint(flag=flag, host=host, port=port, routes=routes)


def metrics(flag: str, host: str, port: int, registry: CollectorRegistry) -> Endpoint:
    """The endpoint of /metrics in Prometheus' text format."""

    def scrape(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return Endpoint(flag=flag, host=host, port=port, routes={"/metrics": scrape})


def _probe(checks: Mapping[str, Check]) -> _Handler:
    def answer(request: web.Request) -> web.Response:
        exclude = frozenset(request.query.getall("exclude", []))
        status, body = report(checks, verbose="verbose" in request.query, exclude=exclude)
        return web.Response(status=status, text=body)

    return answer


def _asynchronous(
    handler: _Handler,
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return handler(request)

    return handle
