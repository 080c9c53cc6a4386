"""Measuring what only aiohttp sees of a request: how long a name took to resolve, and how much was sent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.rest.metrics import RequestMetrics


def trace(metrics: RequestMetrics, clock: Clock, host: str, *, sizes: bool) -> Any:
    """A trace configuration for a session of aiohttp; `sizes` measures requests too, which watches do not want."""
    from aiohttp import TraceConfig

    config = TraceConfig()
    resolution = metrics.resolution.labels(host)

    async def resolving(_: Any, context: SimpleNamespace, __: Any) -> None:
        context.resolving_since = clock.monotonic()

    async def resolved(_: Any, context: SimpleNamespace, __: Any) -> None:
        resolution.observe(clock.monotonic() - context.resolving_since)

    async def started(_: Any, context: SimpleNamespace, __: Any) -> None:
        context.sent = 0

    async def sent(_: Any, context: SimpleNamespace, event: Any) -> None:
        context.sent += len(event.chunk)

    async def answered(_: Any, context: SimpleNamespace, event: Any) -> None:
        metrics.request_size.labels(event.method, host).observe(context.sent)

    config.on_dns_resolvehost_start.append(resolving)
    config.on_dns_resolvehost_end.append(resolved)
    if sizes:
        config.on_request_start.append(started)
        config.on_request_chunk_sent.append(sent)
        config.on_request_end.append(answered)
    config.freeze()
    return config
