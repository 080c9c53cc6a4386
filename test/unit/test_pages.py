"""Pages beside a program's work, and clients that would hold them up."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from inference_server import pages
from inference_server.refusal import InputError

LIMIT_S = 60


def hello() -> pages.Body:
    return HTTPStatus.OK, "text/plain", b"hello"


def broken() -> pages.Body:
    raise RuntimeError("no page")


PAGES = pages.Pages({"/hello": hello, "/broken": broken})


@pytest.fixture
def port() -> Iterator[int]:
    with pages.answering("127.0.0.1", 0, PAGES) as port:
        yield port


def ask(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def is_let_go(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_page_is_answered_by_its_path_and_nothing_else_is(port: int):
    assert ask(port, "/hello?x=1") == (200, b"hello")
    assert ask(port, "/hello", "HEAD") == (200, b"")
    assert ask(port, "/other") == (404, b"")
    assert ask(port, "/hello", "POST")[0] == 501


def test_a_page_that_cannot_be_made_spoils_no_other(port: int):
    with pytest.raises(http.client.RemoteDisconnected):
        ask(port, "/broken")
    assert ask(port, "/hello") == (200, b"hello")


def test_a_client_that_says_nothing_is_let_go():
    with (
        pages.answering("127.0.0.1", 0, PAGES, timeout_s=0.05) as port,
        socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as silent,
    ):
        assert is_let_go(silent)


def test_more_clients_than_are_answered_at_a_time_are_turned_away_at_once():
    with (
        pages.answering("127.0.0.1", 0, PAGES, timeout_s=LIMIT_S, most=1) as port,
        socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as first,
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as second:
            assert is_let_go(second)
        first.sendall(b"GET /hello HTTP/1.0\r\n\r\n")
        assert first.recv(100).startswith(b"HTTP/1.0 200")


@pytest.mark.parametrize("wrong", [70_000, -1])
def test_a_port_that_cannot_be_had_is_refused(port: int, wrong: int):
    for one in (port, wrong):
        with pytest.raises(InputError, match="a free port"), pages.answering("127.0.0.1", one, PAGES):
            pass
