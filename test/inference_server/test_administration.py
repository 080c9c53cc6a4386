from __future__ import annotations

import os
from typing import Any

import pytest

from inference_server.serve import administration
from inference_server.serve.administration import Administration


async def status(path: str, peer: Any, headers: list[tuple[bytes, bytes]] | None = None, root: str = "") -> int:
    """What the layer answers; 200 when it lets the request through."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "root_path": root,
        "client": peer,
        "headers": headers or [],
    }
    await Administration(app)(scope, None, send)
    found: int = sent[0]["status"]
    return found


@pytest.mark.parametrize("peer", [("127.0.0.1", 5), ("::1", 5), ("::ffff:127.0.0.1", 5)])
async def test_the_agent_in_the_pod_is_let_through(peer: Any):
    assert await status("/v1/load_lora_adapter", peer) == 200


@pytest.mark.parametrize("peer", [("10.0.0.7", 5), ("127.0.0.6", 5), ("::ffff:10.0.0.7", 5), ("localhost", 5), None])
@pytest.mark.parametrize(
    "path", ["/v1/load_lora_adapter", "/v1/unload_lora_adapter/", "/adapters", "/adapters/x", "/sleep"]
)
async def test_nobody_else_is(peer: Any, path: str):
    """Neither another pod, nor a mesh's proxy (Istio asks from 127.0.0.6), nor a peer without an address."""
    assert await status(path, peer) == 404


@pytest.mark.parametrize("name", sorted(administration.PROXY_HEADERS))
async def test_a_proxy_on_loopback_speaks_for_others(name: bytes):
    assert await status("/v1/load_lora_adapter", ("127.0.0.1", 5), [(name, b"127.0.0.1")]) == 404


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/health", "/adapters-of-mine", "/v1/sleep"])
async def test_other_paths_are_open(path: str):
    assert await status(path, ("10.0.0.7", 5)) == 200


async def test_a_root_path_hides_nothing():
    """Behind a proxy that routes by paths, both forms of a path lead to the same route."""
    assert await status("/llm/v1/load_lora_adapter", ("10.0.0.7", 5), root="/llm") == 404
    assert await status("/v1/load_lora_adapter", ("10.0.0.7", 5), root="/llm") == 404


def test_uvicorn_is_told_to_believe_nobody(monkeypatch: pytest.MonkeyPatch):
    """Whatever the pod's environment says: uvicorn reads this variable, in every process started from here."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    administration.distrust_forwarded_addresses()
    assert os.environ["FORWARDED_ALLOW_IPS"] == ""
