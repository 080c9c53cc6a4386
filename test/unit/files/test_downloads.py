"""Files are downloaded from the addresses they may come from, whole or not at all."""

from __future__ import annotations

import errno
import itertools
import logging
import socket
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from inference_server.files import transport, urls
from inference_server.files.addresses import parse_network
from inference_server.files.errors import FetchError, Kind
from inference_server.files.limits import Limits
from kaito_controller.testing.authority import Authority
from kaito_controller.testing.loopback import listening
from kaito_controller.testing.raw_server import Fault, ok, raw_server
from kaito_controller.testing.threaded import threaded

HERE = [parse_network("127.0.0.0/8")]


def failure(url: str, folder: Path, **options) -> FetchError:
    with pytest.raises(FetchError) as caught:
        urls.download(url, folder, **{"allowed_private": HERE, **options})
    assert not folder.exists() or list(folder.iterdir()) == []
    return caught.value


@pytest.fixture
def web_server():
    """A server whose answers a test writes, and what it was asked."""
    asked: list[web.Request] = []
    answers: dict[str, dict[str, Any]] = {}

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        return web.Response(**answers.get(request.path, {"status": 404}))

    with threaded(listening(answer)) as url:
        yield url, answers, asked


def test_a_file_is_downloaded_under_its_own_name(web_server, tmp_path):
    url, answers, _ = web_server
    answers["/a/train.jsonl"] = {"body": b"{}\n" * 10}
    told = []
    path = urls.download(
        f"{url}/a/train.jsonl?sig=sesame#x",
        tmp_path / "data",
        allowed_private=HERE,
        progress=lambda done, total: told.append((done, total)),
    )
    assert path == tmp_path / "data" / "train.jsonl"
    assert path.read_bytes() == b"{}\n" * 10
    assert told[-1] == (30, 30)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["train.jsonl"]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0",
        "0.0.0.0",
    ],
)
def test_this_machine_is_refused_however_it_is_written(host, tmp_path):
    error = failure(f"http://{host}:9/x", tmp_path / "d", allowed_private=())
    assert error.kind in {Kind.UNSAFE, Kind.INVALID, Kind.UNREACHABLE}
    if error.kind is Kind.UNREACHABLE:
        assert "resolve" in str(error)


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest/meta-data/", "http://metadata.google.internal/", "http://metadata/x"]
)
def test_metadata_services_are_refused_even_where_everything_is_allowed(url, tmp_path):
    error = failure(url, tmp_path / "d", allowed_private=[parse_network("0.0.0.0/0")])
    assert error.kind is Kind.UNSAFE
    assert "metadata" in str(error)


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://h/x", "file:///etc/passwd", "http://", "https:///x", "http://[/", "//h/x", "http://h:port/"]
)
def test_what_is_no_web_address_is_refused(url, tmp_path):
    assert failure(url, tmp_path / "d").kind is Kind.INVALID


def test_a_redirect_to_an_address_that_is_not_allowed_is_not_followed(web_server, tmp_path):
    url, answers, _ = web_server
    reached = []

    async def inside(request: web.Request) -> web.StreamResponse:
        reached.append(request.path)
        return web.Response(body=b"secret")

    with threaded(listening(inside)) as private:
        port = private.rpartition(":")[2]
        answers["/x"] = {"status": 302, "headers": {"Location": f"http://127.0.0.2:{port}/secret"}}
        error = failure(f"{url}/x", tmp_path / "d", allowed_private=[parse_network("127.0.0.1/32")])
    assert error.kind is Kind.UNSAFE
    assert "127.0.0.2" in str(error)
    assert reached == []


def test_a_name_that_changes_its_mind_is_reached_where_it_was_checked(web_server, tmp_path, monkeypatch):
    url, answers, asked = web_server
    answers["/x"] = {"body": b"1"}
    port = int(url.rpartition(":")[2])
    resolved = []

    def fickle(host, *_args, **_kwargs):
        """A name server that first says one address, and then another."""
        resolved.append(host)
        address = "127.0.0.1" if len(resolved) == 1 else "10.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(transport.socket, "getaddrinfo", fickle)
    # create_connection looks a name up, too; it is given the address that was judged instead.
    given_to = []

    def connected(address, *_args, **_kwargs):
        given_to.append(address[0])
        found = socket.socket()
        found.connect(address)
        return found

    monkeypatch.setattr(socket, "create_connection", connected)
    urls.download(f"http://data.example:{port}/x", tmp_path / "d", allowed_private=HERE)
    assert given_to == ["127.0.0.1"]
    assert resolved[0] == "data.example"
    assert asked[0].headers["Host"] == f"data.example:{port}"


def test_a_name_with_one_address_that_is_not_allowed_is_refused(tmp_path, monkeypatch):
    entries = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, 80)) for text in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(transport.socket, "getaddrinfo", lambda *_, **__: entries)
    error = failure("http://data.example/x", tmp_path / "d")
    assert error.kind is Kind.UNSAFE
    assert "10.0.0.1" in str(error)


def test_a_certificate_is_for_the_name_and_not_for_the_address(tmp_path):
    authority = Authority.make()

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"1")

    with threaded(listening(answer, authority.server_context())) as url:
        port = url.rpartition(":")[2]
        http = transport.client(urls.Policy(allowed=HERE), Limits(), authorities=authority.pem)
        with http:
            assert http.get(f"https://localhost:{port}/x").content == b"1"
        error = failure(f"https://localhost:{port}/x", tmp_path / "d")
    assert error.kind is Kind.UNREACHABLE
    assert "trusted" in str(error)


def test_a_redirect_from_https_to_http_is_refused(tmp_path, monkeypatch):
    authority = Authority.make()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    (tmp_path / "ca.pem").write_text(authority.pem)

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=301, headers={"Location": "http://127.0.0.1/x"})

    with threaded(listening(answer, authority.server_context())) as url:
        error = failure(f"{url}/x", tmp_path / "d")
    assert error.kind is Kind.UNSAFE
    assert "https" in str(error)


def test_redirects_end(web_server, tmp_path):
    url, answers, _ = web_server
    answers["/x"] = {"status": 302, "headers": {"Location": "/x"}}
    assert failure(f"{url}/x", tmp_path / "d").kind is Kind.INVALID
    for location in ("ftp://h/x", "http://", "http://[", "x" * 20_000):
        answers["/y"] = {"status": 302, "headers": {"Location": location}}
        assert failure(f"{url}/y", tmp_path / "d").kind in {Kind.INVALID, Kind.UNSAFE}


def test_a_password_in_a_url_goes_to_its_host_and_not_on(web_server, tmp_path):
    url, answers, asked = web_server
    others: list[str] = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        others.append(request.headers.get("Authorization", ""))
        return web.Response(body=b"1")

    with threaded(listening(elsewhere)) as other:
        answers["/x"] = {"status": 302, "headers": {"Location": f"{other}/y"}}
        urls.download(url.replace("://", "://me:sesame@") + "/x", tmp_path / "d", allowed_private=HERE)
    assert asked[0].headers["Authorization"].startswith("Basic ")
    assert others == [""]


def test_proxies_of_the_environment_are_not_asked(web_server, tmp_path, monkeypatch):
    url, answers, _ = web_server
    answers["/x"] = {"body": b"1"}
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert urls.download(f"{url}/x", tmp_path / "d", allowed_private=HERE).read_bytes() == b"1"


def test_errors_hold_no_secret_of_the_url(web_server, tmp_path):
    url, _, _ = web_server
    error = failure(url.replace("://", "://me:sesame@") + "/none?sig=sesame", tmp_path / "d")
    assert error.kind is Kind.NOT_FOUND
    assert "sesame" not in str(error)
    assert "/none" in str(error)


def test_the_signature_of_a_url_is_not_logged(web_server, tmp_path, caplog):
    url, answers, _ = web_server
    answers["/x"] = {"body": b"1"}
    with caplog.at_level(logging.INFO):
        urls.download(f"{url}/x?sig=sesame", tmp_path / "d", allowed_private=HERE)
    assert "sesame" not in caplog.text


def test_a_file_larger_than_the_limit_is_given_up(web_server, tmp_path):
    url, answers, _ = web_server
    answers["/x"] = {"body": bytes(5000)}
    assert failure(f"{url}/x", tmp_path / "d", limits=Limits(max_bytes=4999)).kind is Kind.TOO_LARGE


def test_a_file_that_never_ends_is_given_up(tmp_path, clock):
    endless = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1000\r\n" + bytes(0x1000) + b"\r\n"] * 100]
    with threaded(raw_server(endless)) as server:
        error = failure(f"{server.url}/x", tmp_path / "d", limits=Limits(max_bytes=100_000), clock=clock)
    assert error.kind is Kind.TOO_LARGE


HEAD = b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: "v1"\r\n\r\n'
REST = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 6\r\nContent-Range: bytes 4-9/10\r\n\r\n456789"


def test_a_download_that_breaks_off_goes_on_where_it_ended(tmp_path, clock):
    with threaded(raw_server([HEAD + b"0123"], [REST])) as server:
        path = urls.download(f"{server.url}/x", tmp_path / "d", allowed_private=HERE, clock=clock)
        assert path.read_bytes() == b"0123456789"
        assert b"range: bytes=4-\r\n" in server.heads[1].lower()
        assert b'if-range: "v1"' in server.heads[1].lower()


def test_a_file_that_changed_meanwhile_is_downloaded_anew(tmp_path, clock):
    with threaded(raw_server([HEAD + b"0123"], [ok(b"abcdefgh")])) as server:
        path = urls.download(f"{server.url}/x", tmp_path / "d", allowed_private=HERE, clock=clock)
        assert path.read_bytes() == b"abcdefgh"


@pytest.mark.parametrize("span", ["bytes 0-5/10", "bytes 5-10/11", "bytes 4-9/99", "nonsense", "bytes 4-9/*"])
def test_a_part_that_is_not_the_one_asked_for_spoils_nothing(tmp_path, clock, span):
    part = REST.replace(b"bytes 4-9/10", span.encode())
    with threaded(raw_server([HEAD + b"0123"], [part], [ok(b"0123456789")], [ok(b"0123456789")])) as server:
        try:
            path = urls.download(f"{server.url}/x", tmp_path / "d", allowed_private=HERE, clock=clock)
        except FetchError as error:
            assert error.kind is Kind.CORRUPT  # noqa: PT017
            assert list((tmp_path / "d").iterdir()) == []
        else:
            assert path.read_bytes() == b"0123456789"


def test_a_download_that_always_breaks_off_is_given_up(tmp_path, clock):
    with threaded(raw_server(*[[HEAD + b"0123"]] * 9)) as server:
        error = failure(f"{server.url}/x", tmp_path / "d", clock=clock)
    assert error.kind is Kind.CORRUPT
    assert "4 of 10" in str(error)


def test_a_server_that_resets_is_asked_again(tmp_path, clock):
    with threaded(raw_server([Fault.RESET], [ok(b"1")])) as server:
        assert urls.download(f"{server.url}/x", tmp_path / "d", allowed_private=HERE, clock=clock).read_bytes() == b"1"
    assert len(clock.waits) == 1


def test_a_server_that_falls_silent_is_given_up(tmp_path, clock):
    limits = Limits(read_timeout_s=0.05, attempts=2)
    with threaded(raw_server([HEAD, Fault.SILENCE], [HEAD, Fault.SILENCE])) as server:
        error = failure(f"{server.url}/x", tmp_path / "d", limits=limits, clock=clock)
    assert error.kind is Kind.UNREACHABLE
    assert "in time" in str(error)


def test_a_server_that_trickles_is_given_up(tmp_path, clock):
    """Each byte would come in time, and the file never."""
    minutes = itertools.count(step=60.0)
    clock.monotonic = lambda: next(minutes)
    script = [b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x", Fault.SILENCE]
    with threaded(raw_server(*[script] * 3)) as server:
        error = failure(f"{server.url}/x", tmp_path / "d", limits=Limits(attempts=2), clock=clock)
    assert error.kind is Kind.UNREACHABLE
    assert "sends 1 bytes" in str(error)


def test_a_refusal_that_trickles_held_the_download_for_days(tmp_path, clock):
    minutes = itertools.count(step=60.0)
    clock.monotonic = lambda: next(minutes)
    script = [b"HTTP/1.1 404 Not Found\r\nContent-Length: 4000\r\n\r\n", b"x", Fault.SILENCE]
    with threaded(raw_server(script)) as server:
        error = failure(f"{server.url}/x", tmp_path / "d", clock=clock)
    assert error.kind is Kind.NOT_FOUND


def test_a_server_that_begins_anew_each_time_was_asked_for_ever(tmp_path, clock):
    """It sends a megabyte, then one more, then all of it again: more and more came, and never the end."""
    half = bytes(2**20)
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3145728\r\n\r\n" + half
    span = b"Content-Length: 2097152\r\nContent-Range: bytes 1048576-3145727/3145728\r\n\r\n"
    rest = b"HTTP/1.1 206 Partial Content\r\n" + span
    with threaded(raw_server(*[[whole], [rest + half]] * 20)) as server:
        error = failure(f"{server.url}/x", tmp_path / "d", clock=clock)
    assert error.kind is Kind.CORRUPT
    assert len(clock.waits) < 10


def test_a_body_that_is_compressed_against_our_wish_is_refused(web_server, tmp_path):
    url, answers, _ = web_server
    answers["/x"] = {"body": b"1", "headers": {"Content-Encoding": "gzip"}}
    error = failure(f"{url}/x", tmp_path / "d")
    assert error.kind is Kind.CORRUPT
    assert "Content-Encoding" in str(error)


def test_a_date_in_retry_after_is_understood(tmp_path, clock):
    clock.now_s = 1_000_000.0
    busy = ok(b"", f"Retry-After: {formatdate(1_000_009.0, usegmt=True)}", status="503 Service Unavailable")
    with threaded(raw_server([busy], [ok(b"1")])) as server:
        urls.download(f"{server.url}/x", tmp_path / "d", allowed_private=HERE, clock=clock)
    assert clock.waits == [9.0]


def test_a_full_disk_is_said_and_leaves_nothing(web_server, tmp_path, monkeypatch):
    url, answers, _ = web_server
    answers["/x"] = {"body": b"1"}
    (tmp_path / "d").mkdir()
    monkeypatch.setattr(urls.disk.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 0}))
    error = failure(f"{url}/x", tmp_path / "d")
    assert (error.kind, error.retryable) == (Kind.DISK_FULL, True)


def test_a_disk_that_fills_up_on_the_way_is_said_and_leaves_nothing(web_server, tmp_path):
    """The kernel's own full device stands in for the disk: every write to it fails."""
    url, answers, _ = web_server
    answers["/x"] = {"body": bytes(100_000)}
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / ".x.fetching").symlink_to("/dev/full")
    error = failure(f"{url}/x", tmp_path / "d")
    assert (error.kind, error.retryable) == (Kind.DISK_FULL, True)
    assert "no room" in str(error)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EDQUOT, Kind.DISK_FULL),
        (errno.EROFS, Kind.DISK_FULL),
        (errno.EACCES, Kind.DISK_FULL),
        (errno.ENAMETOOLONG, Kind.INVALID),
    ],
)
def test_what_the_file_system_refuses_is_one_error(number, kind):
    with pytest.raises(FetchError) as caught, urls.disk.writing("x"):
        raise OSError(number, "no", "/mnt/x")
    assert caught.value.kind is kind
    assert "/mnt/x" in str(caught.value)


def test_a_folder_that_cannot_be_made_is_said(web_server, tmp_path):
    url, answers, _ = web_server
    answers["/x"] = {"body": b"1"}
    (tmp_path / "file").write_text("x")
    with pytest.raises(FetchError) as caught:
        urls.download(f"{url}/x", tmp_path / "file" / "d", allowed_private=HERE)
    assert caught.value.kind is Kind.DISK_FULL


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/b.jsonl?x=/c.json", "b.jsonl"),
        ("https://h/", "download"),
        ("https://h", "download"),
        ("https://h/a/", "a"),
        ("https://h/..%2f..%2fetc%2fpasswd", "passwd"),
        ("https://h/%2e%2e", "download"),
        ("https://h/..\\x", "x"),
        ("https://h/a%00b.json", "a_b.json"),
        ("https://h/.hidden", "hidden"),
        ("https://h/%252e%252e%252fx", "%2e%2e%2fx".replace("%", "_")),
        ("https://h/d%C3%A4ta.csv", "däta.csv"),
    ],
)
def test_a_file_is_named_by_the_last_part_of_the_path(url, name):
    assert urls.file_name(httpx.URL(url)) == name


@given(st.text(max_size=300))
def test_any_path_makes_a_name_that_stays_in_its_folder(path):
    try:
        url = httpx.URL(scheme="https", host="h", path=f"/{path}")
    except httpx.InvalidURL:
        return
    name = urls.file_name(url)
    assert name
    assert name not in {".", ".."}
    assert not name.startswith(".")
    assert "/" not in name
    assert "\0" not in name
    assert len(name.encode()) <= 200
