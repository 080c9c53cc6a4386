"""Token servers are asked as registries say, and only where a password is safe."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import httpx2
import pytest
from aiohttp import web

from inference_server.files import hub_failures
from inference_server.files import web as files_web
from inference_server.files.clock import SystemClock
from inference_server.files.errors import FetchError, Kind
from inference_server.files.oci import image
from inference_server.files.oci.credentials import Credentials
from kaito_controller.testing.authority import Authority
from kaito_controller.testing.loopback import listening
from kaito_controller.testing.threaded import threaded

DIGEST = "sha256:" + "0a" * 32


def mounted(folder: Path, host: str, entry: dict[str, str], certificate: str = "") -> Credentials:
    folder.mkdir()
    (folder / ".dockerconfigjson").write_text(json.dumps({"auths": {host: entry}}))
    if certificate:
        (folder / "ca.crt").write_text(certificate)
    return Credentials.of_folders([folder])


class Tokens:
    """A registry with one tag, and its token server, as ACR has one for identity tokens."""

    def __init__(self, realm: str = "", token: object = "opened") -> None:  # noqa: S107 - of a server that is not real
        self.realm = realm
        self.token = token
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/token":
            form = {**request.query, **await request.post()}
            self.asked.append((request.method, request.headers.get("Authorization", ""), form))
            return web.json_response({"access_token": self.token})
        if request.headers.get("Authorization") != "Bearer opened":
            realm = self.realm or str(request.url.with_path("/token").with_query(None))
            challenge = f'Bearer realm="{realm}",service="here"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        return web.Response(headers={"Docker-Content-Digest": DIGEST})


def test_an_identity_token_is_exchanged_for_one_of_the_registry(tmp_path):
    tokens = Tokens()
    with threaded(listening(tokens.answer)) as url:
        host = url.removeprefix("http://")
        credentials = mounted(tmp_path / "s", host, {"identitytoken": "refresh"})
        assert image.resolve(f"{host}/team/x:1", credentials=credentials) == DIGEST
    ((method, authorization, form),) = tokens.asked
    assert (method, authorization) == ("POST", "")
    assert form["grant_type"] == "refresh_token"
    assert form["refresh_token"] == "refresh"
    assert (form["scope"], form["service"]) == ("repository:team/x:pull", "here")


def test_a_registry_token_is_sent_as_it_is(tmp_path):
    tokens = Tokens()
    with threaded(listening(tokens.answer)) as url:
        host = url.removeprefix("http://")
        credentials = mounted(tmp_path / "s", host, {"registrytoken": "opened"})
        assert image.resolve(f"{host}/x:1", credentials=credentials) == DIGEST
    assert tokens.asked == []


@pytest.mark.parametrize("token", ["", None, 7, "two words", "a\nb", "x" * 100_000])
def test_what_is_no_token_is_not_sent_on(tmp_path, token):
    tokens = Tokens(token=token)
    with threaded(listening(tokens.answer)) as url, pytest.raises(FetchError) as caught:
        image.resolve(f"{url.removeprefix('http://')}/x:1", credentials=Credentials.anonymous())
    assert caught.value.kind is Kind.CORRUPT


@pytest.mark.parametrize(
    "realm", ["http://127.0.0.1:9/token", "ftp://h/x", "/token", "file:///etc/passwd", "https:\\h", "https://["]
)
def test_a_password_goes_to_no_token_server_without_https(tmp_path, realm):
    authority = Authority.make()
    tokens = Tokens(realm=realm)
    with threaded(listening(tokens.answer, authority.server_context())) as url:
        host = url.removeprefix("https://")
        credentials = mounted(tmp_path / "s", host, {"username": "me", "password": "sesame"}, authority.pem)
        with pytest.raises(FetchError) as caught:
            image.resolve(f"{host}/x:1", credentials=credentials)
    assert caught.value.kind is Kind.UNSAFE
    assert "sesame" not in str(caught.value)


def test_a_registry_token_with_a_line_end_was_told_to_everybody(tmp_path):
    """What refuses such a header repeats it, and that went on into the log and the status of the Workspace."""
    tokens = Tokens()
    with threaded(listening(tokens.answer)) as url:
        host = url.removeprefix("http://")
        credentials = mounted(tmp_path / "s", host, {"registrytoken": "opened\n"})
        assert image.resolve(f"{host}/x:1", credentials=credentials) == DIGEST
    with pytest.raises(FetchError) as caught:
        mounted(tmp_path / "t", host, {"registrytoken": "ses\name"})
    assert caught.value.kind is Kind.INVALID
    assert "ses" not in caught.value.found
    assert "name" not in caught.value.found


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_a_header_that_cannot_be_sent_is_not_repeated(library):
    error = library.LocalProtocolError("Illegal header value b'Bearer sesame'")
    if library is httpx:
        told = files_web.unreachable(error, "x", "host")
    else:
        with pytest.raises(FetchError) as caught, hub_failures.understood("x", SystemClock(), has_token=True):
            raise error
        told = caught.value
    assert (told.kind, told.retryable) == (Kind.INVALID, False)
    assert "sesame" not in str(told)
