"""Probes: /healthz and /readyz, as kubelet asks for them and as the API server's own endpoints answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from kaito_controller.machinery.log import logger
from kaito_controller.machinery.server.endpoint import Endpoint, Handler, text

Check = Callable[[], str]
"""A check says what is wrong, or nothing (an empty text) when all is well. It must not block."""

log = logger(__name__)


def report(
    name: str, checks: Mapping[str, Check], *, verbose: bool = False, exclude: frozenset[str] = frozenset()
) -> tuple[int, str]:
    """The answer to a probe: status code and body, as the API server's own endpoints word them (MG5).

    All is well: 200 and ``ok``, or with ``verbose`` a line a check. Otherwise 500 with a line a check. What is wrong
    with the failing ones is logged and not told: anybody may ask. No checks at all means that answering is enough.
    """
    lines, failed = [], False
    for check_name, check in (checks or {"ping": _ping}).items():
        if check_name in exclude:
            lines.append(f"[+]{check_name} excluded: ok")
        elif problem := verdict(check):
            failed = True
            log.info("health check fails", endpoint=name, check=check_name, reason=problem)
            lines.append(f"[-]{check_name} failed: reason withheld")
        else:
            lines.append(f"[+]{check_name} ok")
    if unknown := sorted(exclude - set(checks or {"ping": _ping})):
        names = ",".join(f'"{each}"' for each in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {names}")
    if failed:
        return 500, "\n".join([*lines, f"{name} check failed"]) + "\n"
    return 200, "\n".join([*lines, f"{name} check passed"]) + "\n" if verbose else "ok"


def verdict(check: Check) -> str:
    """What a check says; one that breaks has found something wrong."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - whatever it is, the answer is no
        return f"{type(error).__name__}: {error}"


def probes(flag: str, host: str, port: int, *, health: Mapping[str, Check], ready: Mapping[str, Check]) -> Endpoint:
    """The endpoint of /healthz and /readyz, each with all its checks and one path a check."""
    routes: dict[str, Handler] = {}
    for name, checks in (("healthz", health), ("readyz", ready)):
        routes[f"/{name}"] = routes[f"/{name}/"] = _probe(name, checks)
        for check_name, check in (checks or {"ping": _ping}).items():
            routes[f"/{name}/{check_name}"] = _single(check)
    return Endpoint(flag=flag, host=host, port=port, routes=routes)


def exposition(registry: CollectorRegistry) -> Handler:
    """Answers with all metrics of a registry in Prometheus' text format."""

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return scrape


def _ping() -> str:
    return ""


def _probe(name: str, checks: Mapping[str, Check]) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        exclude = frozenset(request.query.getall("exclude", []))
        return text(*report(name, checks, verbose="verbose" in request.query, exclude=exclude))

    return answer


def _single(check: Check) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        problem = verdict(check)
        return text(500, f"internal server error: {problem}\n") if problem else text(200, "ok")

    return answer
