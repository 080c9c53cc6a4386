"""HTTP in bounds: of bytes, of time, and of who may see a token."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from aiohttp import web

from kaito_controller.sources.errors import SourceError, Trouble
from kaito_controller.sources.http import AioWeb
from kaito_controller.sources.web import Ask, Span, is_link_local
from kaito_controller.testing.loopback import listening
from kaito_controller.testing.ports import free_port
from kaito_controller.testing.raw_server import END, Fault, chunked, ok, raw_server

SECRET = "Bearer hf_secret"


def ask(url: str, limit: int = 100, span: Span | None = None) -> Ask:
    return Ask(url=url, what="the file", limit_bytes=limit, authorization=SECRET, span=span)


async def refusal(url: str, limit: int = 100, span: Span | None = None, *, timeout_s: float = 30) -> SourceError:
    async with AioWeb(timeout_s=timeout_s, proxy=lambda _: None) as http:
        with pytest.raises(SourceError) as caught:
            await http.get(ask(url, limit, span))
    assert "hf_secret" not in str(caught.value)
    assert str(caught.value).startswith("the file: ")
    return caught.value


async def test_an_answer_that_is_declared_too_long_is_not_read():
    """Two gigabytes of JSON, of which the server has not one byte."""
    async with raw_server([b"HTTP/1.1 200 OK\r\nContent-Length: 2147483648\r\n\r\n", Fault.SILENCE]) as server:
        error = await refusal(server.url)
    assert error.trouble is Trouble.TOO_LARGE
    assert "has 2.0 GiB of it, so it is not read" in str(error)


async def test_an_answer_without_a_length_is_read_to_the_limit():
    """The rest is not waited for."""
    async with raw_server([*chunked(b"x" * 60, b"y" * 60), Fault.SILENCE]) as server:
        error = await refusal(server.url)
    assert error.trouble is Trouble.TOO_LARGE
    assert "sends more" in str(error)


async def test_an_answer_of_just_the_limit_is_whole():
    """With a length and without."""
    async with raw_server([ok(b"x" * 100)], [*chunked(b"x" * 100), END]) as server, AioWeb() as http:
        assert [len((await http.get(ask(server.url))).body) for _ in range(2)] == [100, 100]


async def test_a_compressed_answer_is_not_unpacked():
    """A few bytes may hold gigabytes."""
    async with raw_server([ok(b"x", "Content-Encoding: gzip")]) as server:
        assert "must answer without compression" in str(await refusal(server.url))
    assert b"Accept-Encoding: identity" in server.heads[0]


async def test_an_answer_shorter_than_declared_may_pass():
    """The connection broke."""
    async with raw_server([b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc"]) as server:
        error = await refusal(server.url)
    assert (error.trouble, error.passes) == (Trouble.UNREACHABLE, True)
    assert "ended before it was complete" in str(error)


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc"])
async def test_a_server_that_goes_silent_is_given_up(begun: bytes):
    """Before it answers, and in the middle."""
    script = [begun, Fault.SILENCE] if begun else [Fault.SILENCE]
    async with raw_server(script) as server:
        error = await refusal(server.url, timeout_s=0.05)
    assert error.trouble is Trouble.UNREACHABLE
    assert "must answer within 0.05 s" in str(error)


async def test_nobody_there_is_told_without_a_trace():
    """The system's own words, and what to do."""
    error = await refusal(f"http://127.0.0.1:{free_port()}/path?signature=s3cr3t")
    assert error.trouble is Trouble.UNREACHABLE
    assert "cannot be reached (Connect call failed" in str(error) or "cannot be reached (Connection refused" in str(
        error
    )
    assert "or name a local folder" in str(error)
    assert "s3cr3t" not in str(error)


async def test_a_name_that_does_not_resolve_is_told():
    """As without a network."""
    assert "name.invalid cannot be reached" in str(await refusal("http://name.invalid/"))


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"])
async def test_what_does_not_speak_http_is_told(answer: bytes):
    """Another port."""
    async with raw_server([answer]) as server:
        assert "must speak HTTP" in str(await refusal(server.url))


@pytest.mark.parametrize(
    ("status", "header", "wait"),
    [(429, "7", 7.0), (503, "Thu, 01 Jan 2026 00:00:30 GMT", 30.0), (500, "soon", None), (429, "9" * 9, 3600.0)],
)
async def test_a_busy_server_says_when(status: int, header: str, wait: float | None):
    """Seconds or a date, up to an hour."""

    async def busy(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Retry-After": header})

    async with listening(busy) as url, AioWeb(now=lambda: datetime(2026, 1, 1, tzinfo=UTC)) as http:
        with pytest.raises(SourceError) as caught:
            await http.get(ask(url))
    assert (caught.value.trouble, caught.value.retry_after_s) == (Trouble.BUSY, wait)


async def test_a_token_stays_with_the_host_it_is_for():
    """Redirects to another host, and from there back, come without it; those within the host with it."""
    seen: list[tuple[str, str]] = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        seen.append(("elsewhere", request.headers.get("Authorization", "")))
        return web.Response(status=302, headers={"Location": request.query["back"]})

    async with listening(elsewhere) as other:

        async def hub(request: web.Request) -> web.StreamResponse:
            seen.append((request.path, request.headers.get("Authorization", "")))
            if request.path == "/end":
                return web.Response(body=b"done")
            target = "/within" if request.path == "/start" else f"{other}/?back=http://{request.host}/end"
            return web.Response(status=307, headers={"Location": target})

        async with listening(hub) as url, AioWeb() as http:
            assert (await http.get(ask(f"{url}/start"))).body == b"done"
    assert seen == [("/start", SECRET), ("/within", SECRET), ("elsewhere", ""), ("/end", "")]


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("/again", "redirects more than 5 times"),
        ("ftp://127.0.0.1/", "must redirect to an address of HTTP"),
        ("http://[::1", "must redirect to an address of HTTP"),
        ("http://169.254.169.254/latest/meta-data/", "an address of the machine's own link"),
        ("http://[fe80::1]/", "an address of the machine's own link"),
        ("/a b", "too long or no address"),
    ],
)
async def test_redirects_that_are_not_followed(location: str, why: str):
    """In circles, to other protocols, to where clouds keep a machine's credentials."""

    async def away(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": location})

    async with listening(away) as url:
        assert why in str(await refusal(url))


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.1.1]"])
async def test_the_machine_s_own_link_is_never_asked(host: str):
    """Whoever names it."""
    assert "own link: none is asked" in str(await refusal(f"http://{host}/"))
    assert is_link_local(host.strip("[]"))


async def test_a_signed_address_is_sent_as_it_is():
    """Escapes that a library would tidy up are part of what was signed."""
    seen: list[str] = []

    async def storage(request: web.Request) -> web.StreamResponse:
        seen.append(request.raw_path)
        return web.Response(body=b"")

    async with listening(storage) as url, AioWeb() as http:
        await http.get(ask(f"{url}/a%2Fb?Signature=x%2By~z%3D&Key=%7E"))
    assert seen == ["/a%2Fb?Signature=x%2By~z%3D&Key=%7E"]


async def test_a_part_is_what_was_asked_for():
    """A server without parts sends the start, which is all that is read of it."""
    body = bytes(range(100))
    partial = b"HTTP/1.1 206 P\r\nContent-Length: 10\r\nContent-Range: bytes 5-14/100\r\n\r\n" + body[5:15]
    async with raw_server([partial], [ok(body)]) as server, AioWeb() as http:
        assert (await http.get(ask(server.url, span=Span(start=5, length=10)))).body == body[5:15]
        assert (await http.get(ask(server.url, span=Span(start=0, length=10)))).body == body[:10]
    assert b"Range: bytes=5-14\r\n" in server.heads[0]


@pytest.mark.parametrize(
    ("answer", "trouble", "why"),
    [
        (ok(bytes(100)), Trouble.UNSUPPORTED, "it sends the whole file"),
        (ok(bytes(10), "Content-Range: bytes 0-9/100", status="206 P"), Trouble.MALFORMED, "it sends another"),
        (ok(bytes(10), "Content-Range: bytes 5-99/100", status="206 P"), Trouble.MALFORMED, "it sends another"),
        (ok(bytes(10), status="206 P"), Trouble.MALFORMED, "it sends another"),
        (ok(bytes(4), "Content-Range: bytes 5-14/100", status="206 P"), Trouble.MALFORMED, "the 10 bytes that it"),
        (ok(bytes(20), "Content-Range: bytes 5-14/100", status="206 P"), Trouble.MALFORMED, "the 10 bytes that it"),
    ],
)
async def test_another_part_than_asked_for_is_refused(answer: bytes, trouble: Trouble, why: str):
    """Whatever the server says of it."""
    async with raw_server([answer]) as server:
        error = await refusal(server.url, span=Span(start=5, length=10))
    assert error.trouble is trouble
    assert why in str(error)


async def test_a_proxy_is_asked_instead():
    """The one that the environment names for the URL."""
    async with raw_server([ok(b"by proxy")]) as proxy, AioWeb(proxy=lambda _: proxy.url) as http:
        assert (await http.get(ask("http://hub.example/x"))).body == b"by proxy"
    assert proxy.heads[0].startswith(b"GET http://hub.example/x HTTP/1.1\r\n")


async def test_a_question_that_is_given_up_leaves_nothing_open():
    """A reading that is cancelled hangs up."""
    arrived = asyncio.Event()

    async def silent(_: web.Request) -> web.StreamResponse:
        arrived.set()
        await asyncio.Event().wait()
        return web.Response()

    async with listening(silent) as url, AioWeb() as http:
        asking = asyncio.ensure_future(http.get(ask(url)))
        await arrived.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
