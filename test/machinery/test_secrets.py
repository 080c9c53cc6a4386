"""Secrets are for the wire: nothing that requests are made with shows one when it is logged or printed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from aiohttp import web

from kaito_controller.machinery import rest
from kaito_controller.machinery.rest.credentials import Identity, Loaded
from kaito_controller.machinery.rest.exec_protocol import VERSIONS, PluginCredentials, PluginSettings
from kaito_controller.machinery.rest.token_file import TokenFile
from kaito_controller.machinery.rest.wire import Call, Wire
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.clock import VirtualClock
from kaito_controller.testing.loopback import serving

SECRET = "s3same"
PRINTED = json.dumps({"apiVersion": VERSIONS[0], "kind": "ExecCredential", "status": {"token": SECRET}})
SECTION = {
    "apiVersion": VERSIONS[0],
    "command": "/bin/echo",
    "args": [PRINTED],
    "env": [{"name": "CLIENT_SECRET", "value": SECRET}],
}

CREDENTIALS = PluginCredentials(token=SECRET, key=SECRET)
SETTINGS = PluginSettings.parse(SECTION, Path("/"), {})
TRANSIENT: Mapping[str, Any] = {
    "what a request is sent with": Identity(authorization=f"Bearer {SECRET}", plugin=CREDENTIALS),
    "what a plugin answered": CREDENTIALS,
    "how a plugin is run": SETTINGS,
    "what was loaded": Loaded(configuration={"api_key": SECRET}, plugin=(SECTION, Path("/"), {})),
    "a review of a token": Call(method="POST", path="/x", body={"spec": {"token": SECRET}}),
}


@pytest.mark.parametrize("what", TRANSIENT)
def test_what_lives_for_one_request_shows_no_secret(what: str) -> None:
    """It may be in an error, a log line or a traceback with local variables."""
    assert SECRET not in repr(TRANSIENT[what])


@pytest.mark.parametrize("user", [{"token": SECRET}, {"tokenFile": "token"}, {"exec": SECTION}], ids=" ".join)
async def test_what_a_transport_holds_shows_no_secret(tmp_path: Path, user: Mapping[str, Any]) -> None:
    """However the token came: none of the objects behind a transport that has sent it shows it."""
    (tmp_path / "token").write_text(SECRET)
    shown: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        shown.append(request.headers["Authorization"])
        return web.json_response({})

    async with serving(answer, tmp_path, user) as transport:
        await transport.request("GET", "/x")
        found = {id(each): each for each in behind(transport)}
        assert any(isinstance(each, Wire) for each in found.values())
        assert [type(each).__name__ for each in found.values() if SECRET in repr(each)] == []
    assert shown == [f"Bearer {SECRET}"]


def test_a_token_file_that_was_read_does_not_show_it(tmp_path: Path) -> None:
    """It keeps the last token, for when the file cannot be read."""
    (tmp_path / "token").write_text(SECRET)
    file = TokenFile(path=tmp_path / "token", clock=VirtualClock())
    assert file.token() == SECRET
    assert SECRET not in repr(file)


def behind(obj: Any) -> Iterator[Any]:
    """The objects of our own that one is made of, itself included."""
    if not type(obj).__module__.startswith((rest.__name__, AioTransport.__module__)):
        return
    yield obj
    names = [each.name for each in attrs.fields(type(obj))] if attrs.has(type(obj)) else [*vars(obj)]
    for name in names:
        yield from behind(getattr(obj, name))
