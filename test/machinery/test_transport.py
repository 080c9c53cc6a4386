"""The transport against a real HTTP server on loopback: what it sends, and what it makes of every kind of answer."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from kaito_controller.kube.core import CONFIG_MAPS, PODS
from kaito_controller.machinery import errors
from kaito_controller.machinery.client import Client
from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.errors import (
    ApiConnectionError,
    ApiConnectionLostError,
    ApiError,
    ApiTimeoutError,
    ConfigurationError,
)
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.ports import free_port

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ImpatientClock(RealClock):
    """The real clock, but waits are written down instead of spent, and its monotonic time can be put forward."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)


def kubeconfig(path: Path, server: str, user: dict[str, str] | None = None) -> Path:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "users": [{"name": "test", "user": user or {"token": "sesame"}}],
    }
    path.write_text(json.dumps(content))
    return path


@asynccontextmanager
async def serving(handler: Handler, tmp_path: Path, user: dict[str, str] | None = None, **more):
    """A server with one handler for every path, and a transport to it."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    path = kubeconfig(tmp_path / "kubeconfig", f"http://127.0.0.1:{runner.addresses[0][1]}", user)
    transport = AioTransport(kubeconfig=path, **more)
    try:
        yield transport
    finally:
        await transport.close()
        await runner.cleanup()


def status(code: int, reason: str, message: str = "", **more) -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason} | more
    return web.json_response(body | {"message": message}, status=code)


def test_the_770_models_are_not_imported() -> None:
    """The idle operator's memory: neither the transport's import nor its use loads the generated models."""
    program = """
import sys
from kaito_controller.machinery.transport import AioTransport
AioTransport()
loaded = [name for name in sys.modules if name.startswith("kubernetes_asyncio.client.")]
print(sorted(loaded), any(name.startswith("kubernetes.") for name in sys.modules))
import kubernetes_asyncio.config
from kubernetes_asyncio.client import CoreV1Api, ApiClient
print(ApiClient.__module__)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    parts = ["configuration", "exceptions", "rest"]
    loaded = [f"kubernetes_asyncio.client.{part}" for part in parts]
    assert done.stdout.splitlines() == [f"{loaded} False", "kubernetes_asyncio.client.api_client"], done.stderr


async def test_a_call_carries_credentials_query_and_body(tmp_path: Path) -> None:
    """PT1: what the server gets is what was meant, under the content type of the patch."""
    got: dict[str, object] = {}

    async def handler(request: web.Request) -> web.Response:
        got.update(
            line=f"{request.method} {request.path_qs}",
            type=request.headers["Content-Type"],
            auth=request.headers["Authorization"],
            agent=request.headers["User-Agent"],
            body=json.loads(await request.read()),
        )
        return web.json_response({"kind": "ConfigMap"})

    metrics = Metrics()
    async with serving(handler, tmp_path, metrics=metrics) as transport:
        body = {"metadata": {"name": "a", "namespace": "ns"}, "data": {"k": "Zürich"}}
        answer = await Client(transport).apply(CONFIG_MAPS, body, field_manager="tests", subresource="status")
        host = transport.host.removeprefix("http://")
    assert answer == {"kind": "ConfigMap"}
    assert got == {
        "line": "PATCH /api/v1/namespaces/ns/configmaps/a/status?fieldManager=tests&force=true",
        "type": "application/apply-patch+yaml",
        "auth": "Bearer sesame",
        "agent": "kaito-controller",
        "body": {"apiVersion": "v1", "kind": "ConfigMap"} | body,
    }
    labels = {"code": "200", "method": "PATCH", "host": host}
    assert metrics.registry.get_sample_value("rest_client_requests_total", labels) == 1


@pytest.mark.parametrize(
    ("code", "reason", "check"),
    [
        (404, "NotFound", errors.is_not_found),
        (409, "AlreadyExists", errors.is_already_exists),
        (409, "Conflict", errors.is_conflict),
        (410, "Expired", errors.is_gone),
        (422, "Invalid", errors.is_invalid),
        (403, "Forbidden", errors.is_forbidden),
        (429, "TooManyRequests", errors.is_too_many_requests),
    ],
)
async def test_a_refusal_is_an_error_of_its_kind(
    tmp_path: Path, code: int, reason: str, check: Callable[[BaseException], bool]
) -> None:
    """A Status becomes an ApiError, on calls and on streams (whose status the client does not check)."""

    async def handler(_: web.Request) -> web.Response:
        return status(code, reason, "because", details={"causes": [{"field": "spec", "message": "x"}]})

    checks = [errors.is_not_found, errors.is_already_exists, errors.is_conflict, errors.is_gone]
    checks += [errors.is_invalid, errors.is_forbidden, errors.is_too_many_requests]
    async with serving(handler, tmp_path) as transport:
        with pytest.raises(ApiError, match=f"{code} {reason}: because") as call:
            await Client(transport).get(CONFIG_MAPS, "a", "ns")
        with pytest.raises(ApiError, match=f"{code} {reason}: because") as stream:
            async with Client(transport).watch(CONFIG_MAPS):
                pass
    assert [each(call.value) for each in checks] == [each is check for each in checks]
    assert check(stream.value)
    assert call.value.causes == [{"field": "spec", "message": "x"}]


async def test_a_refusal_that_is_no_status_keeps_its_words(tmp_path: Path) -> None:
    """A proxy's HTML is an ApiError with the code, not a decoding failure; nor is a 200 that is no JSON an object."""
    answers = [web.Response(status=502, text="<h1>bad gateway</h1>"), web.Response(text="<h1>login</h1>")]

    async def handler(_: web.Request) -> web.Response:
        return answers.pop(0)

    async with serving(handler, tmp_path) as transport:
        with pytest.raises(ApiError, match="bad gateway") as refused:
            await transport.request("GET", "/version")
        with pytest.raises(ApiError, match="no JSON"):
            await transport.request("GET", "/version")
    assert refused.value.status == 502


async def test_retry_after_is_waited_out(tmp_path: Path) -> None:
    """RC2: 429 and 5xx that carry Retry-After are tried again, ten times at most; an eviction is not."""
    count = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        if count in {1, 2} or "evict" in request.path or "busy" in request.path:
            answer = status(429 if count % 2 else 503, "Busy")
            answer.headers["Retry-After"] = "7"
            return answer
        return web.json_response({"ok": True})

    clock = ImpatientClock()
    async with serving(handler, tmp_path, clock=clock) as transport:
        assert await transport.request("POST", "/x", body={}) == {"ok": True}
        assert (clock.waits, count) == ([7, 7], 3)
        with pytest.raises(ApiError):
            await transport.request("GET", "/busy")
        assert count == 3 + 10
        with pytest.raises(ApiError):
            await Client(transport).evict("p", "ns", uid="u")
        assert count == 14


async def test_a_read_that_lost_its_connection_is_repeated_and_a_write_is_not(tmp_path: Path) -> None:
    """RC2: nobody knows whether the write was carried out, so its caller has to look.

    aiohttp repeats a read once by itself, hence the third try is ours.
    """
    got: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        got.append(request.method)
        if len(got) != 3:
            assert request.transport is not None
            request.transport.close()
        return web.json_response({"ok": True})

    clock = ImpatientClock()
    async with serving(handler, tmp_path, clock=clock) as transport:
        assert await transport.request("GET", "/x") == {"ok": True}
        with pytest.raises(ApiConnectionLostError, match="the connection broke"):
            await transport.request("POST", "/x", body={})
    assert (got, clock.waits) == (["GET", "GET", "GET", "POST"], [1])


async def test_5xx_without_retry_after_is_the_callers(tmp_path: Path) -> None:
    """RC2: no wait was asked for, so the reconcile's own backoff decides."""
    count = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal count
        count += 1
        return status(500, "InternalError")

    async with serving(handler, tmp_path) as transport:
        with pytest.raises(ApiError):
            await transport.request("GET", "/x")
    assert count == 1


async def test_a_server_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """The message names the request and the address."""
    port = free_port("127.0.0.1")
    transport = AioTransport(kubeconfig=kubeconfig(tmp_path / "k", f"http://127.0.0.1:{port}"), clock=ImpatientClock())
    with pytest.raises(
        ApiConnectionError, match=rf"GET http://127.0.0.1:{port}/version: .*refused|Connect call failed"
    ):
        await transport.request("GET", "/version")
    with pytest.raises(ApiConnectionError):
        async with transport.stream("GET", "/api/v1/pods"):
            pass
    await transport.close()


async def test_an_answer_that_does_not_come_in_time_is_an_error(tmp_path: Path) -> None:
    """A hung server costs `timeout_s`, not the operator."""
    hang = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        await hang.wait()
        return web.json_response({})

    async with serving(handler, tmp_path) as transport:
        with pytest.raises(ApiTimeoutError, match="no answer in time"):
            await transport.request("GET", "/slow", timeout_s=0.05)
        hang.set()


async def stream_of(*chunks: bytes, hang: asyncio.Event | None = None) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if hang is not None:
            await hang.wait()
        return response

    return handler


async def test_a_stream_yields_bytes_until_its_end(tmp_path: Path) -> None:
    """The end of iteration is the end of the answer."""
    async with (
        serving(await stream_of(b"a\nb", b"c\n"), tmp_path) as transport,
        transport.stream("GET", "/watch") as chunks,
    ):
        received = [chunk async for chunk in chunks]
    assert b"".join(received) == b"a\nbc\n"


async def test_a_stream_that_is_silent_too_long_ends_with_an_error(tmp_path: Path) -> None:
    """The inactivity deadline of a stream."""
    hang = asyncio.Event()
    async with serving(await stream_of(b"a\n", hang=hang), tmp_path) as transport:
        async with transport.stream("GET", "/watch", idle_timeout_s=0.05) as chunks:
            assert await anext(chunks) == b"a\n"
            with pytest.raises(ApiTimeoutError):
                await anext(chunks)
        hang.set()


async def test_many_streams_leave_calls_their_connections(tmp_path: Path) -> None:
    """Calls and watches have sessions of their own: 120 open watches starve no call."""
    hang = asyncio.Event()
    streaming = await stream_of(b"a\n", hang=hang)

    async def handler(request: web.Request) -> web.StreamResponse:
        return await streaming(request) if request.path == "/watch" else web.json_response({"ok": True})

    async def watch(transport: AioTransport, opened: asyncio.Semaphore) -> None:
        async with transport.stream("GET", "/watch") as chunks:
            async for _ in chunks:
                opened.release()

    async with serving(handler, tmp_path) as transport:
        opened = asyncio.Semaphore(0)
        watches = [asyncio.create_task(watch(transport, opened)) for _ in range(120)]
        for _ in watches:
            await opened.acquire()
        assert await transport.request("GET", "/x", timeout_s=5) == {"ok": True}
        hang.set()
        await asyncio.gather(*watches)


async def test_credentials_are_read_again_after_a_401(tmp_path: Path) -> None:
    """RC3: a rotated token file takes effect without a restart; a token that stays wrong is an error, not a loop."""
    token = tmp_path / "token"
    token.write_text("old\n")
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        return web.json_response({}) if seen[-1] == "Bearer new" else status(401, "Unauthorized")

    clock = ImpatientClock()
    async with serving(handler, tmp_path, {"tokenFile": str(token)}, clock=clock) as transport:
        with pytest.raises(ApiError, match="401 Unauthorized"):
            await transport.request("GET", "/x")
        token.write_text("new\n")
        clock.ahead_s = 60
        assert await transport.request("GET", "/x") == {}
    assert seen == ["Bearer old", "Bearer old", "Bearer new"]


async def test_a_limit_spaces_requests(tmp_path: Path) -> None:
    """RC1: with --kube-client-qps the burst goes at once, the rest at the rate."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response({})

    clock = ImpatientClock()
    async with serving(handler, tmp_path, clock=clock, qps=0.01, burst=2) as transport:
        for _ in range(4):
            await transport.request("GET", "/x")
    assert [round(wait, -2) for wait in clock.waits] == [100, 200]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; name one with --kubeconfig"),
        ("", "it does not have the form of one.*correct it, or name another with --kubeconfig"),
        ("{}", "cannot be used.*correct it"),
        ("][", "cannot be used.*correct it"),
        ('{"current-context": "x", "contexts": [], "clusters": []}', "x"),
    ],
)
async def test_a_kubeconfig_that_fails_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    """Missing, empty, garbled or pointing nowhere: one error that names the file."""
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)
    transport = AioTransport(kubeconfig=path)
    with pytest.raises(ConfigurationError, match=message) as failed:
        await transport.open()
    assert str(path) in str(failed.value)
    await transport.close()


async def test_a_list_reads_all_pages_and_fills_in_the_kind(tmp_path: Path) -> None:
    """CC2: items of a list carry no kind on the wire; the pages are followed to the end."""
    queries: list[dict[str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        queries.append(dict(request.query))
        head = {"continue": "next"} if len(queries) == 1 else {}
        return web.json_response({"metadata": head, "items": [{"metadata": {"name": f"p{len(queries)}"}}]})

    async with serving(handler, tmp_path) as transport:
        found = await Client(transport).list(PODS, "ns", label_selector="a=b", field_selector="spec.nodeName=n")
    assert [(item["kind"], item["apiVersion"], item["metadata"]["name"]) for item in found] == [
        ("Pod", "v1", "p1"),
        ("Pod", "v1", "p2"),
    ]
    first = {"labelSelector": "a=b", "fieldSelector": "spec.nodeName=n", "limit": "500"}
    assert queries == [first, first | {"continue": "next"}]


async def test_a_deletion_names_its_victim_by_uid(tmp_path: Path) -> None:
    """UID preconditions: a namesake made meanwhile is not deleted. An empty merge patch only reads (PT4)."""
    got: list[tuple[str, object]] = []

    async def handler(request: web.Request) -> web.Response:
        data = await request.read()
        got.append((request.method, json.loads(data) if data else None))
        return web.json_response({})

    async with serving(handler, tmp_path) as transport:
        client = Client(transport)
        await client.delete(PODS, "p", "ns", uid="u")
        await client.merge_patch(PODS, "p", "ns", {})
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
    assert got == [("DELETE", options | {"preconditions": {"uid": "u"}}), ("GET", None)]
