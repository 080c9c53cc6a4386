"""The transport against a real HTTP server on loopback: what it sends, and what it makes of every kind of answer."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web

from kaito_controller.kube.core import CONFIG_MAPS, PODS
from kaito_controller.machinery import errors
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.election.fence import FencedError, FencedTransport
from kaito_controller.machinery.errors import (
    ApiConnectionError,
    ApiConnectionLostError,
    ApiError,
    ApiTimeoutError,
    ConfigurationError,
)
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.rest.metrics import RequestMetrics
from kaito_controller.machinery.rest.sessions import CALL_CONNECTIONS
from kaito_controller.machinery.rest.user_agent import user_agent
from kaito_controller.machinery.rest.wire import Call
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.clock import cancelled
from kaito_controller.testing.loopback import Handler, ImpatientClock, listening, serving, status, write_kubeconfig
from kaito_controller.testing.ports import free_port


def test_the_770_models_are_not_imported() -> None:
    """The idle operator's memory: neither the transport's import nor its use loads the generated models."""
    program = """
import sys
from kaito_controller.machinery.rest.wire import Call
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


@pytest.mark.scenario("PT1")
async def test_a_call_carries_credentials_query_and_body(tmp_path: Path) -> None:
    """What the server gets is what was meant, under the content type of the patch."""
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
        "agent": user_agent("kaito-controller"),
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


async def test_a_close_while_it_opens_leaves_no_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a kubeconfig may take its time; sessions made after the close would stay open for good."""
    transport = AioTransport(kubeconfig=write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1"))
    load, made = transport._credentials.load, list[object]()
    monkeypatch.setattr(transport._connections, "factory", lambda *_: made.append(_))

    async def late() -> None:
        await load()
        await transport.close()

    monkeypatch.setattr(transport._credentials, "load", late)
    with pytest.raises(ApiConnectionError, match="the transport is closed"):
        await transport.open()
    assert made == []


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


@pytest.mark.scenario("RC2")
async def test_retry_after_is_waited_out(tmp_path: Path) -> None:
    """429 and 5xx with Retry-After are sent again, body and all, ten times at most; an eviction is the caller's."""
    bodies: list[bytes] = []

    async def handler(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        if len(bodies) in {1, 2} or "evict" in request.path or "busy" in request.path:
            answer = status(429 if len(bodies) % 2 else 503, "Busy")
            answer.headers["Retry-After"] = "7"
            return answer
        return web.json_response({"ok": True})

    clock = ImpatientClock()
    async with serving(handler, tmp_path, clock=clock) as transport:
        assert await transport.request("POST", "/x", body={"a": 1}) == {"ok": True}
        assert (clock.waits, bodies) == ([7, 7], [b'{"a": 1}'] * 3)
        with pytest.raises(ApiError):
            await transport.request("GET", "/busy")
        assert (len(bodies), clock.waits) == (3 + 11, [7] * 12)
        with pytest.raises(ApiError):
            await Client(transport).evict("p", "ns", uid="u")
        assert len(bodies) == 15


@pytest.mark.scenario("LE9", "RC2")
async def test_a_write_that_a_busy_server_put_off_is_not_sent_by_who_leads_no_more(tmp_path: Path) -> None:
    """A process that is frozen while it waits out a Retry-After goes on right before the write."""
    leads = True
    got: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        nonlocal leads
        got.append(request.method)
        leads = request.method == "GET"
        return web.Response(status=429, headers={"Retry-After": "7"}) if len(got) % 2 else web.json_response({})

    async with serving(handler, tmp_path, clock=ImpatientClock()) as transport:
        fenced = FencedTransport(transport, lambda: leads)
        assert await fenced.request("GET", "/x") == {}
        with pytest.raises(FencedError, match="PUT /x: not sent"):
            await fenced.request("PUT", "/x", body={})
        assert await fenced.request("GET", "/x") == {}
    assert got == ["GET", "GET", "PUT", "GET"]


@pytest.mark.scenario("RC2")
async def test_the_opening_of_a_stream_waits_for_retry_after_too(tmp_path: Path) -> None:
    """A watch that meets a busy server opens later, on its own; one refused without Retry-After is the reflector's."""
    answers = ["7", "7", "", None]

    async def handler(_: web.Request) -> web.Response:
        wait = answers.pop(0)
        if wait is None:
            return web.Response(body=b"a")
        return web.Response(status=429, headers={"Retry-After": wait} if wait else {})

    clock = ImpatientClock()
    async with serving(handler, tmp_path, clock=clock) as transport:
        with pytest.raises(ApiError, match="429"):
            async with transport.stream("GET", "/watch"):
                pass
        assert clock.waits == [7, 7]
        async with transport.stream("GET", "/watch") as chunks:
            assert [chunk async for chunk in chunks] == [b"a"]


@pytest.mark.scenario("RC2")
async def test_a_read_that_lost_its_connection_is_repeated_and_a_write_is_not(tmp_path: Path) -> None:
    """Nobody knows whether the write was carried out, so its caller has to look. Ten repeats, a second apart."""
    got: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        got.append(request.method)
        if len(got) != 3:
            assert request.transport is not None
            request.transport.close()
        return web.json_response({"ok": True})

    clock = ImpatientClock()
    async with serving(handler, tmp_path, clock=clock) as transport:
        # aiohttp repeats a read once by itself, hence the third try is ours.
        assert await transport.request("GET", "/x") == {"ok": True}
        assert (got, clock.waits) == (["GET"] * 3, [1])
        with pytest.raises(ApiConnectionLostError, match="the connection broke"):
            await transport.request("POST", "/x", body={})
        assert (got[3:], clock.waits) == (["POST"], [1])
        with pytest.raises(ApiConnectionLostError):
            await transport.request("GET", "/x")
    assert clock.waits == [1] * 11


@pytest.mark.scenario("RC2")
@pytest.mark.parametrize("header", [None, "Mon, 23 Nov 2026 03:00:00 GMT", "-1", "²", "1.5"])
async def test_5xx_without_seconds_to_wait_is_the_callers(tmp_path: Path, header: str | None) -> None:
    """No wait was asked for in whole seconds, so the reconcile's own backoff decides."""
    count = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal count
        count += 1
        answer = status(500, "InternalError")
        if header:
            answer.headers["Retry-After"] = header
        return answer

    async with serving(handler, tmp_path) as transport:
        with pytest.raises(ApiError):
            await transport.request("GET", "/x")
    assert count == 1


@pytest.mark.scenario("MX4")
async def test_every_request_is_counted_and_more_on_request(tmp_path: Path) -> None:
    """Counts by code, method and host always, the repeated ones apart; durations and sizes where they are asked for."""
    codes = [503, 200]

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/gone":
            assert request.transport is not None
            request.transport.close()
        code = codes.pop(0) if codes else 200
        return web.json_response({"a": 1}, status=code, headers={"Retry-After": "3"})

    metrics = Metrics()
    measure = RequestMetrics(metrics.registry)
    clock = ImpatientClock()
    async with serving(handler, tmp_path, clock=clock, metrics=metrics, measure=measure, qps=1000) as transport:
        await transport.request("POST", "/x", body={"key": "value"})
        with pytest.raises(ApiConnectionLostError):
            await transport.request("POST", "/gone", body={})
        async with transport.stream("GET", "/watch"):
            pass
        host = transport.host.removeprefix("http://")

    def count(family: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"rest_client_{family}", labels | {"host": host})

    assert [count("requests_total", code=code, method="POST") for code in ("503", "200", "<error>")] == [1, 1, 1]
    assert count("requests_total", code="200", method="GET") == 1
    assert [count("request_retries_total", code=code, verb="POST") for code in ("200", "503")] == [1, None]
    assert count("request_duration_seconds_count", verb="POST") == 2
    assert count("request_duration_seconds_count", verb="GET") is None
    assert count("request_size_bytes_sum", verb="POST") == 2 * len('{"key": "value"}')
    assert count("response_size_bytes_sum", verb="POST") == 2 * len('{"a": 1}')
    assert count("rate_limiter_duration_seconds_count", verb="POST") == 3
    assert count("rate_limiter_duration_seconds_count", verb="GET") == 1
    names = {family.name for family in Metrics().registry.collect()}
    assert not {name for name in names if "duration" in name and name.startswith("rest_client")}


@pytest.mark.scenario("MX4")
async def test_a_repeat_that_is_given_up_counts_as_no_success(tmp_path: Path) -> None:
    """Its reconcile was cut off: no code came back."""
    asked: list[str] = []
    arrived, hang = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        if len(asked) > 1:
            arrived.set()
            await hang.wait()
        return web.Response(status=503, headers={"Retry-After": "1"})

    metrics = Metrics()
    async with serving(handler, tmp_path, clock=ImpatientClock(), metrics=metrics) as transport:
        giving_up = asyncio.create_task(transport.request("GET", "/x"))
        await asyncio.wait_for(arrived.wait(), 60)
        await cancelled(giving_up)
        hang.set()
        labels = {"verb": "GET", "host": transport.host.removeprefix("http://")}
    found = {
        code: metrics.registry.get_sample_value("rest_client_request_retries_total", {"code": code, **labels})
        for code in ("200", "<error>")
    }
    assert found == {"200": None, "<error>": 1}


@pytest.mark.scenario("MX4")
async def test_resolving_a_name_is_measured(tmp_path: Path) -> None:
    """The time until localhost has an address."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response({})

    metrics = Metrics()
    async with listening(handler) as url:
        named = url.replace("127.0.0.1", "localhost")
        path = write_kubeconfig(tmp_path / "kubeconfig", named)
        async with AioTransport(kubeconfig=path, measure=RequestMetrics(metrics.registry)) as transport:
            await transport.request("GET", "/x")
    labels = {"host": named.removeprefix("http://")}
    assert metrics.registry.get_sample_value("rest_client_dns_resolution_duration_seconds_count", labels) == 1


async def test_a_server_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """The message names the request and the address."""
    port = free_port("127.0.0.1")
    transport = AioTransport(
        kubeconfig=write_kubeconfig(tmp_path / "k", f"http://127.0.0.1:{port}"), clock=ImpatientClock()
    )
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


@pytest.mark.scenario("RF22")
async def test_a_stream_has_the_kernel_look_after_its_peer(tmp_path: Path) -> None:
    """A peer that vanished without a word is found out after 30 s and nine questions, 15 s apart."""
    hang = asyncio.Event()
    async with serving(await stream_of(b"a", hang=hang), tmp_path) as transport:
        async with transport.stream("GET", "/watch") as chunks:
            assert await anext(chunks) == b"a"
            (pool,) = transport._connections._sessions.watches.pool_manager.connector._acquired
            sock = pool.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            assert [sock.getsockopt(socket.IPPROTO_TCP, option) for option in options] == [30, 15, 9]
        hang.set()


async def test_a_stream_yields_bytes_until_its_end(tmp_path: Path) -> None:
    """The end of iteration is the end of the answer."""
    async with (
        serving(await stream_of(b"a\nb", b"c\n"), tmp_path) as transport,
        transport.stream("GET", "/watch") as chunks,
    ):
        received = [chunk async for chunk in chunks]
    assert b"".join(received) == b"a\nbc\n"


@pytest.mark.parametrize(
    "where", ["../../../../../namespaces/kube-system/secrets", "http://127.0.0.1:1/", "/api/v1/nodes"]
)
async def test_a_pod_behind_the_proxy_sent_the_operator_with_its_token_to_a_path_of_the_pods_choice(
    tmp_path: Path, where: str
) -> None:
    """A redirect is an answer like another, of a call and of a stream."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({}, status=302, headers={"Location": where})

    path = "/api/v1/namespaces/default/pods/phi-0:5001/proxy/report"
    async with serving(handler, tmp_path) as transport:
        with pytest.raises(ApiError) as refused:
            async with transport.stream("GET", path):
                pass
        assert refused.value.status == 302
        with pytest.raises(ApiError):
            await transport.request("GET", path)
    assert asked == [path, path]


async def test_a_stream_that_is_silent_too_long_ends_with_an_error(tmp_path: Path) -> None:
    """The inactivity deadline of a stream."""
    hang = asyncio.Event()
    async with serving(await stream_of(b"a\n", hang=hang), tmp_path) as transport:
        async with transport.stream("GET", "/watch", idle_timeout_s=2) as chunks:
            assert await anext(chunks) == b"a\n"
            with pytest.raises(ApiTimeoutError):
                await anext(chunks)
        hang.set()


async def test_an_idle_stream_keeps_nothing_of_what_it_brought(tmp_path: Path) -> None:
    """Every idle watch of the operator held on to its last chunk, up to 4 MiB each."""
    freed, hang = asyncio.Event(), asyncio.Event()

    class Chunk(bytes):
        def __del__(self) -> None:
            freed.set()

    class Content:
        """aiohttp's reader, whose real chunks tell nobody when they are freed."""

        came = False

        def at_eof(self) -> bool:
            return False

        async def readany(self) -> bytes:
            if self.came:
                await hang.wait()
            self.came = True
            return Chunk(b"a")

    async with serving(await stream_of(b""), tmp_path) as transport:
        await transport.open()
        chunks = transport._chunks(Call(method="GET", path="/watch"), SimpleNamespace(content=Content()))
        assert len(await anext(chunks)) == 1
        idle = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)
        assert freed.is_set()
        hang.set()
        await idle


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
        async with asyncio.timeout(30):
            for _ in watches:
                await opened.acquire()
        assert await transport.request("GET", "/x", timeout_s=5) == {"ok": True}
        hang.set()
        await asyncio.gather(*watches)


async def test_calls_share_32_connections_and_starve_no_watch(tmp_path: Path) -> None:
    """40 hung calls: 32 are on the wire, the rest time out and say why, and a watch opens all the same."""
    hang = asyncio.Event()
    arrived = asyncio.Semaphore(0)
    count = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal count
        if request.path != "/watch":
            count += 1
            arrived.release()
            await hang.wait()
        return web.json_response({"ok": True})

    async with serving(handler, tmp_path) as transport:
        calls = [asyncio.create_task(transport.request("GET", "/x")) for _ in range(39)]
        async with asyncio.timeout(30):
            for _ in range(CALL_CONNECTIONS):
                await arrived.acquire()
        with pytest.raises(ApiTimeoutError, match="no answer in time; 40 calls share 32 connections"):
            await transport.request("GET", "/x", timeout_s=0.1)
        assert count == CALL_CONNECTIONS
        async with transport.stream("GET", "/watch") as chunks:
            assert [chunk async for chunk in chunks] == [b'{"ok": true}']
        hang.set()
        await asyncio.gather(*calls)
    assert count == 39


@pytest.mark.scenario("RC1")
async def test_a_limit_spaces_requests(tmp_path: Path) -> None:
    """With --kube-client-qps the burst goes at once, the rest at the rate, watches among it; without it none waits."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response({})

    clock = ImpatientClock()
    async with serving(handler, tmp_path, clock=clock, qps=0.01, burst=2) as transport:
        for _ in range(3):
            await transport.request("GET", "/x")
        async with transport.stream("GET", "/watch"):
            pass
    assert [round(wait, -2) for wait in clock.waits] == [100, 200]
    clock = ImpatientClock()
    async with serving(handler, tmp_path, clock=clock) as transport:
        for _ in range(100):
            await transport.request("GET", "/x")
    assert clock.waits == []


@pytest.mark.scenario("RC5")
async def test_who_asks_is_named() -> None:
    """component/version (os/arch) as Go spells them, and the purpose of a client behind it."""
    agent = user_agent("pytest", "leader-election")
    assert re.fullmatch(r"pytest/\d[\d.]+ \(linux/(amd64|arm64)\)/leader-election", agent)
    assert user_agent("no-such-distribution").startswith("no-such-distribution/unknown (")


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


@pytest.mark.parametrize("name", ["../../kube-system/configmaps/a", "..", "a?watch=true", "a%2fb", "a#b"])
async def test_a_name_that_leads_elsewhere_is_asked_of_nobody(tmp_path: Path, name: str) -> None:
    """Users write names into specs; followed as paths, they would be read with the operator's own rights."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        return web.json_response({})

    async with serving(handler, tmp_path) as transport:
        with pytest.raises(ValueError, match=r"ConfigMap: .* is no name"):
            await Client(transport).get(CONFIG_MAPS, name, "ns")
    assert asked == []


async def test_a_list_reads_all_pages_and_fills_in_the_kind(tmp_path: Path) -> None:
    """Items of a list carry no kind on the wire; the pages are followed to the end."""
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
    """UID preconditions: a namesake made meanwhile is not deleted. An empty merge patch only reads."""
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
