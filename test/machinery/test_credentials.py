"""Tokens that rotate: in the Pod's folder, in a file that a kubeconfig names, in the kubeconfig itself."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from kaito_controller.machinery.errors import ApiConnectionError, ApiError, ConfigurationError
from kaito_controller.machinery.rest.exec_protocol import CredentialsError
from kaito_controller.machinery.rest.token_file import TokenFile
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.authority import Authority
from kaito_controller.testing.loopback import ImpatientClock, listening, serving, status, write_kubeconfig


class Guard:
    """A server that takes one token and writes down which it was shown."""

    def __init__(self, accepted: str = "") -> None:
        self.accepted = accepted
        self.shown: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.shown.append(request.headers["Authorization"].removeprefix("Bearer "))
        if self.accepted and self.shown[-1] != self.accepted:
            return status(401, "Unauthorized")
        return web.json_response({})


@pytest.mark.scenario("RC3")
async def test_a_pods_token_is_read_again_after_50_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before, then on the next request; a failed reading keeps the old token, and the next request tries again."""
    authority = Authority.make()
    (tmp_path / "ca.crt").write_text(authority.pem)
    token = tmp_path / "token"
    token.write_text("first\n")
    guard, clock = Guard(), ImpatientClock()
    async with listening(guard.answer, authority.server_context()) as url:
        monkeypatch.delenv("KUBECONFIG", raising=False)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(urlsplit(url).hostname))
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(urlsplit(url).port))
        async with AioTransport(clock=clock, service_account=tmp_path) as transport:
            await transport.request("GET", "/x")
            token.write_text("second\n")
            clock.ahead_s = 45
            await transport.request("GET", "/x")
            clock.ahead_s = 55
            await transport.request("GET", "/x")
            token.unlink()
            clock.ahead_s = 110
            await transport.request("GET", "/x")
            token.write_text(" \n")
            await transport.request("GET", "/x")
            token.write_text("third")
            await transport.request("GET", "/x")
    assert guard.shown == ["first", "first", "second", "second", "second", "third"]


@pytest.mark.scenario("RC3")
async def test_a_401_drops_a_token_older_than_the_request(tmp_path: Path) -> None:
    """An older one is read again at once and the request sent again; one read for the request is an error, no loop."""
    token = tmp_path / "token"
    token.write_text("old\n")
    guard = Guard("new")
    async with serving(guard.answer, tmp_path, {"tokenFile": "token"}, clock=ImpatientClock()) as transport:
        with pytest.raises(ApiError, match="401 Unauthorized"):
            await transport.request("GET", "/x")
        assert guard.shown == ["old"]
        token.write_text("new\n")
        assert await transport.request("POST", "/x", body={}) == {}
        async with transport.stream("GET", "/watch"):
            pass
    assert guard.shown == ["old", "old", "new", "new"]


@pytest.mark.scenario("RC3")
async def test_a_stream_is_opened_with_a_token_read_after_its_401(tmp_path: Path) -> None:
    """Watches take the same way as calls."""
    token = tmp_path / "token"
    token.write_text("old")
    guard = Guard()
    async with serving(guard.answer, tmp_path, {"tokenFile": str(token)}, clock=ImpatientClock()) as transport:
        await transport.request("GET", "/x")
        token.write_text("new")
        guard.accepted = "new"
        async with transport.stream("GET", "/watch") as chunks:
            assert [chunk async for chunk in chunks] == [b"{}"]
    assert guard.shown == ["old", "old", "new"]


@pytest.mark.scenario("RC3")
def test_a_token_read_during_the_request_is_not_dropped(tmp_path: Path) -> None:
    """Ten requests that a stale token sent into a 401 cost one reading, not ten."""
    path, clock = tmp_path / "token", ImpatientClock()
    path.write_text("a")
    file = TokenFile(path=path, clock=clock)
    before = clock.monotonic()
    assert file.token() == "a"
    path.write_text("b")
    file.drop_older_than(before)
    assert file.token() == "a"
    clock.ahead_s = 1
    file.drop_older_than(clock.monotonic())
    assert file.token() == "b"


@pytest.mark.parametrize("content", [None, "", " \n", "two words", "line\nbreak", "Zürich", b"\xff\xfe"])
async def test_a_token_that_cannot_be_sent_is_said_so(tmp_path: Path, content: str | bytes | None) -> None:
    """Without any token nothing is sent; the error counts as a connection's, so that loops try again."""
    path = tmp_path / "token"
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        path.write_bytes(content)
    guard = Guard()
    async with serving(guard.answer, tmp_path, {"tokenFile": "token"}) as transport:
        with pytest.raises(CredentialsError, match="the token cannot be read"):
            await transport.request("GET", "/x")
        path.write_text("good")
        assert await transport.request("GET", "/x") == {}
    assert guard.shown == ["good"]
    assert issubclass(CredentialsError, ApiConnectionError)


async def test_a_token_beside_its_file_helps_out(tmp_path: Path) -> None:
    """As in client-go: what the file has goes first, and the written token is what remains without it."""
    guard = Guard()
    async with serving(guard.answer, tmp_path, {"tokenFile": "token", "token": "written"}) as transport:
        await transport.request("GET", "/x")
        (tmp_path / "token").write_text("from-file")
        await transport.request("GET", "/x")
    assert guard.shown == ["written", "from-file"]


async def test_a_kubeconfig_is_read_again_after_a_401_but_never_changes_the_cluster(tmp_path: Path) -> None:
    """A login tool renews the token in place; a kubeconfig that names another server by now is left alone."""
    guard, clock = Guard("new"), ImpatientClock()
    async with listening(guard.answer) as url:
        path = write_kubeconfig(tmp_path / "kubeconfig", url, {"token": "old"})
        async with AioTransport(kubeconfig=path, clock=clock) as transport:
            with pytest.raises(ApiError, match="401"):
                await transport.request("GET", "/x")
            clock.ahead_s = 20
            write_kubeconfig(path, "http://127.0.0.1:1", {"token": "new"})
            with pytest.raises(ApiError, match="401"):
                await transport.request("GET", "/x")
            clock.ahead_s = 40
            path.write_text("][")
            with pytest.raises(ApiError, match="401"):
                await transport.request("GET", "/x")
            clock.ahead_s = 60
            write_kubeconfig(path, url, {"token": "new"})
            assert await transport.request("GET", "/x") == {}
    assert guard.shown == ["old", "old", "old", "old", "new"]


async def test_a_pod_without_a_service_account_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """automountServiceAccountToken: false is a mistake of configuration that is named."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    transport = AioTransport(service_account=tmp_path)
    with pytest.raises(ConfigurationError, match="in-cluster configuration: cannot be used"):
        await transport.open()
