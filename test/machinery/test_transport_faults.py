"""What a network and a server can do wrong, byte by byte, and what callers and readers of streams make of it."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from kaito_controller.machinery.codec import LineSplitter
from kaito_controller.machinery.errors import ApiConnectionError, ApiConnectionLostError, ApiError, ApiTimeoutError
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.clock import cancelled
from kaito_controller.testing.loopback import ImpatientClock, write_kubeconfig
from kaito_controller.testing.ports import free_port
from kaito_controller.testing.raw_server import END, Fault, RawServer, Script, chunked, ok, raw_server

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def transport_to(url: str, folder: Path) -> AioTransport:
    return AioTransport(kubeconfig=write_kubeconfig(folder / "kubeconfig", url), clock=ImpatientClock())


async def call(folder: Path, *scripts: Script, method: str = "POST", timeout_s: float = 20) -> tuple[object, RawServer]:
    """What a call comes to when the server plays these scripts: an answer or an error."""
    async with raw_server(*scripts) as server, transport_to(server.url, folder) as transport:
        body = {} if method == "POST" else None
        try:
            return await transport.request(method, "/x", body=body, timeout_s=timeout_s), server
        except (ApiError, ApiConnectionError) as error:
            return error, server


async def lines(folder: Path, *scripts: Script, idle_timeout_s: float = 20) -> tuple[list[bytes], object]:
    """The whole lines of a stream, and how it ended: with None or an error."""
    splitter, found = LineSplitter(), []
    async with raw_server(*scripts) as server, transport_to(server.url, folder) as transport:
        try:
            async with transport.stream("GET", "/watch", idle_timeout_s=idle_timeout_s) as chunks:
                async for chunk in chunks:
                    found += splitter.feed(chunk)
        except (ApiError, ApiConnectionError) as error:
            return found, error
    return found, None


LOST = {
    "reset at once": [Fault.RESET],
    "closed at once": [],
    "reset in the head": [HEAD, Fault.RESET],
    "closed in the head": [HEAD],
    "reset in the body": [HEAD + b"Content-Length: 10\r\n\r\n{", Fault.RESET],
    "body cut short": [HEAD + b"Content-Length: 10\r\n\r\n{"],
    "chunks without an end": chunked(b'{"a"'),
}
GARBLED = {
    "no chunk": [*chunked(b'{"a"'), b"zzz\r\nno number\r\n"],
    "no gzip": [ok(b"not gzip at all", "Content-Encoding: gzip")],
    "another protocol": [b"SSH-2.0-OpenSSH_9.9\r\n\r\n"],
    "no text": [b"HTTP/1.1 \xff\xff\r\n\r\n"],
}


@pytest.mark.scenario("RC2")
@pytest.mark.parametrize("fault", LOST)
async def test_a_broken_answer_is_a_lost_connection(tmp_path: Path, fault: str) -> None:
    """A write is not repeated, since nobody knows whether it was done; a read is, and gets its answer."""
    outcome, server = await call(tmp_path, LOST[fault])
    assert isinstance(outcome, ApiConnectionLostError), repr(outcome)
    assert len(server.heads) == 1
    outcome, server = await call(tmp_path, LOST[fault], LOST[fault], [ok(b"{}")], method="GET")
    assert (outcome, len(server.heads)) == ({}, 3)


@pytest.mark.parametrize("fault", GARBLED)
async def test_what_is_no_http_is_a_connection_that_failed(tmp_path: Path, fault: str) -> None:
    """Another program on the port, a broken proxy: an error that names the request, not one of a parser."""
    outcome, _ = await call(tmp_path, GARBLED[fault])
    assert isinstance(outcome, ApiConnectionError), repr(outcome)
    assert str(outcome).startswith("POST http://127.0.0.1")
    _, ended = await lines(tmp_path, GARBLED[fault])
    assert isinstance(ended, ApiConnectionError), repr(ended)


async def test_nobody_listens(tmp_path: Path) -> None:
    """Refused connections are told apart from broken ones: nothing was sent, and reads are not repeated here."""
    async with transport_to(f"http://127.0.0.1:{free_port('127.0.0.1')}", tmp_path) as transport:
        with pytest.raises(ApiConnectionError, match=r"GET http://127\.0\.0\.1") as refused:
            await transport.request("GET", "/x")
        with pytest.raises(ApiConnectionError) as opening:
            async with transport.stream("GET", "/watch"):
                pass
    assert not isinstance(refused.value, ApiConnectionLostError)
    assert not isinstance(opening.value, ApiConnectionLostError)


@pytest.mark.parametrize("begun", [b"", HEAD, HEAD + b"Content-Length: 10\r\n\r\n{"])
async def test_a_black_hole_costs_a_call_its_timeout(tmp_path: Path, begun: bytes) -> None:
    """Open and silent before the answer, in its head or in its body."""
    outcome, server = await call(tmp_path, [begun, Fault.SILENCE], timeout_s=0.3)
    assert isinstance(outcome, ApiTimeoutError)
    # A machine that is busy may not even have read the request by then.
    assert len(server.heads) <= 1


async def test_a_call_whose_caller_gives_up_leaves_nothing(tmp_path: Path) -> None:
    """A cancelled call ends at once, and the transport goes on."""
    async with (
        raw_server([Fault.SILENCE], [ok(b'{"a": 1}')]) as server,
        transport_to(server.url, tmp_path) as transport,
    ):
        giving_up = asyncio.create_task(transport.request("GET", "/x"))
        await asyncio.wait_for(server.asked.wait(), 60)
        await cancelled(giving_up)
        assert giving_up.cancelled()
        assert await transport.request("GET", "/x") == {"a": 1}


async def test_answers_come_compressed_or_as_html(tmp_path: Path) -> None:
    """The server compresses large answers when it may; a proxy's page is an error with its words."""
    packed = gzip.compress(json.dumps({"data": "x" * 200_000}).encode())
    outcome, server = await call(tmp_path, [ok(packed, "Content-Encoding: gzip")])
    assert outcome == {"data": "x" * 200_000}
    assert b"gzip" in server.heads[0].lower()
    page, _ = await call(tmp_path, [ok(b"<h1>bad gateway</h1>", status="502 Bad Gateway")])
    assert isinstance(page, ApiError)
    assert (page.status, page.reason, page.message) == (502, "Bad Gateway", "<h1>bad gateway</h1>")
    login, _ = await call(tmp_path, [ok(b"<h1>login</h1>")])
    assert isinstance(login, ApiError)
    assert "no JSON" in str(login)
    deep, _ = await call(tmp_path, [ok(b"[" * 200_000)])
    assert isinstance(deep, ApiError)


async def test_a_stream_is_cut_anywhere_but_its_lines_stay_whole(tmp_path: Path) -> None:
    """Split inside a character, two events in one chunk, one event of 5 MiB, a last one without its newline."""
    zurich = '{"city": "Zürich"}\n'.encode()
    cut = zurich.index(b"\xc3") + 1
    large = b'{"x": "' + b"y" * (5 << 20) + b'"}\n'
    parts = [zurich[:cut], zurich[cut:], b'{"a": 1}\n{"b": 2}\n', large, b'{"half": ']
    found, ended = await lines(tmp_path, [*chunked(*parts), END])
    assert found == [zurich[:-1], b'{"a": 1}', b'{"b": 2}', large[:-1]]
    assert ended is None


@pytest.mark.scenario("RF15")
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ([Fault.RESET], ApiConnectionLostError),
        ([], ApiConnectionLostError),
        ([Fault.SILENCE], ApiTimeoutError),
    ],
)
async def test_a_stream_that_breaks_keeps_what_it_had(
    tmp_path: Path, fault: list[bytes | Fault], kind: type[Exception]
) -> None:
    """Reset, early end or silence in mid line: the whole lines were read, then an error of the connection."""
    limit_s = 2 if Fault.SILENCE in fault else 20
    found, ended = await lines(tmp_path, [*chunked(b'{"a": 1}\n{"b"'), *fault], idle_timeout_s=limit_s)
    assert found == [b'{"a": 1}']
    assert type(ended) is kind


@pytest.mark.scenario("RC2")
async def test_a_stream_whose_opening_was_lost_is_opened_again(tmp_path: Path) -> None:
    """As for any read: the server went away before it had answered."""
    found, ended = await lines(tmp_path, [Fault.RESET], [], [*chunked(b'{"a": 1}\n'), END])
    assert (found, ended) == ([b'{"a": 1}'], None)


async def test_a_stream_may_come_compressed(tmp_path: Path) -> None:
    """No API server does that to a watch, but proxies do."""
    packed = gzip.compress(b'{"a": 1}\n')
    head = HEAD + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = f"{len(packed):x}\r\n".encode() + packed + b"\r\n" + END
    assert await lines(tmp_path, [head + body]) == ([b'{"a": 1}'], None)


@pytest.mark.scenario("RC2")
async def test_429_with_and_without_retry_after(tmp_path: Path) -> None:
    """With it the answer is waited for, without it the refusal is the caller's, on the wire as in a handler."""
    busy = ok(b"{}", "Retry-After: 1", status="429 Too Many Requests")
    outcome, server = await call(tmp_path, [busy], [busy], [ok(b'{"a": 1}')])
    assert (outcome, len(server.heads)) == ({"a": 1}, 3)
    outcome, server = await call(tmp_path, [ok(b"{}", status="429 Too Many Requests")])
    assert isinstance(outcome, ApiError)
    assert (outcome.status, outcome.retry_after_s, len(server.heads)) == (429, None, 1)
