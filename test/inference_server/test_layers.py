"""All layers together, as vLLM puts them around its application."""

from __future__ import annotations

import importlib
import time
from types import SimpleNamespace
from typing import Any

from prometheus_client import REGISTRY, Gauge

from inference_server.serve import chat, queue_guard
from inference_server.serve.argv import MIDDLEWARE

# Ten times what it is. One request costs vLLM's own server milliseconds of CPU, of which one percent is the bound.
MOST_S = 60e-6
REQUESTS = 20_000


def layered(app: Any) -> Any:
    """The application in its layers, the first of them innermost: each is made of its name, as vLLM does."""
    for name in MIDDLEWARE:
        module, _, kind = name.rpartition(".")
        app = getattr(importlib.import_module(module), kind)(app)
    return app


async def spent_s(app: Any) -> float:
    """CPU time for one request, the mean of many."""
    config = SimpleNamespace(scheduler_config=SimpleNamespace(max_num_seqs=8))
    args = SimpleNamespace(data_parallel_size=1, api_server_count=None)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "headers": [(b"host", b"x"), (b"content-type", b"application/json")],
        "client": ("10.0.0.7", 5),
        "app": SimpleNamespace(state=SimpleNamespace(vllm_config=config, args=args)),
    }

    async def send(message: Any) -> None:
        assert message["status"] == 200

    began = time.process_time()
    for _ in range(REQUESTS):
        await app(scope, None, send)
    return (time.process_time() - began) / REQUESTS


async def test_a_request_passes_in_microseconds():
    """Also with the hundreds of metrics that vLLM keeps: nothing walks through them all for a request."""
    made = [Gauge(queue_guard.WAITING_METRIC, "waiting")]
    made += [Gauge(f"other_{number}", "of the engine") for number in range(300)]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    try:
        cost_s = await spent_s(layered(app)) - await spent_s(app)
    finally:
        for metric in made:
            REGISTRY.unregister(metric)
    assert cost_s < MOST_S


async def test_a_full_queue_is_told_through_chat_too():
    """What /chat asks below it is guarded: its caller gets the 429 and the time to come back as they are."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the engine was asked")

    guarded = queue_guard.QueueGuard(app, pending=1000)
    route = chat.ChatRoute(guarded)
    body = [{"type": "http.request", "body": b'{"prompt": "q"}', "more_body": False}]
    config = SimpleNamespace(scheduler_config=SimpleNamespace(max_num_seqs=8))
    args = SimpleNamespace(data_parallel_size=1, api_server_count=None)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/chat",
        "headers": [(b"content-type", b"application/json")],
        "app": SimpleNamespace(state=SimpleNamespace(vllm_config=config, args=args)),
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return body.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await route(scope, receive, send)
    assert sent[0]["status"] == 429
    assert b"retry-after" in dict(sent[0]["headers"])
    assert b"rate_limit_exceeded" in sent[1]["body"]
