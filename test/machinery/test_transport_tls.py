"""Certificates that are replaced while the operator runs, over real TLS on loopback (RC5)."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from kaito_controller.machinery.errors import ApiConnectionError, ConfigurationError
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.authority import Authority
from kaito_controller.testing.loopback import ImpatientClock, listening, serving, write_kubeconfig

pytestmark = pytest.mark.scenario("RC5")
TRUST = {"certificate-authority": "ca.crt"}
PAIR = {"client-certificate": "tls.crt", "client-key": "tls.key"}


class Door:
    """Says who came in over which connection; `/watch` says it again until the door is closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.connections: list[int] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self.connections.append(request.transport.get_extra_info("peername")[1])
        peer = request.transport.get_extra_info("peercert") or {}
        name = dict(pair[0] for pair in peer.get("subject", ())).get("commonName", "nobody")
        if request.path != "/watch":
            return web.json_response({"name": name})
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(name.encode())
        await self.closed.wait()
        await response.write(b"bye")
        return response


async def test_a_new_authority_takes_effect_without_a_restart(tmp_path: Path) -> None:
    """The server's certificate is of another authority now: the file is looked at and the request sent again."""
    old, new = Authority.make("old"), Authority.make("new")
    (tmp_path / "ca.crt").write_text(old.pem)
    tls = old.server_context()
    async with serving(Door().answer, tmp_path, tls=tls, cluster=TRUST, clock=ImpatientClock()) as transport:
        assert await transport.request("GET", "/x") == {"name": "nobody"}
        certificate, key = new.issue("server").write(tmp_path)
        tls.load_cert_chain(certificate, key)
        # A connection that stands is not asked again, so a watch makes a new one.
        with pytest.raises(ApiConnectionError, match="certificate verify failed"):
            async with transport.stream("GET", "/x"):
                pass
        (tmp_path / "ca.crt").write_text(new.pem)
        async with transport.stream("GET", "/x") as chunks:
            assert [chunk async for chunk in chunks] == [b'{"name": "nobody"}']
        assert await transport.request("POST", "/x", body={}) == {"name": "nobody"}


async def test_connections_of_an_old_authority_are_drained(tmp_path: Path) -> None:
    """A look a minute: calls move to new connections, an open watch goes on to its end, then the old ones close."""
    authority, door, clock = Authority.make(), Door(), ImpatientClock()
    (tmp_path / "ca.crt").write_text(authority.pem)
    tls = authority.server_context()
    async with serving(door.answer, tmp_path, tls=tls, cluster=TRUST, clock=clock) as transport:
        async with transport.stream("GET", "/watch") as chunks:
            assert await anext(chunks) == b"nobody"
            await transport.request("GET", "/x")
            (tmp_path / "ca.crt").write_text(authority.pem + Authority.make().pem)
            clock.ahead_s = 50
            await transport.request("GET", "/x")
            clock.ahead_s = 70
            await transport.request("GET", "/x")
            _, first, second, third = door.connections
            assert first == second != third
            retired = transport._connections._retired
            assert [each.calls.pool_manager.closed for each in retired] == [False]
            door.closed.set()
            assert [chunk async for chunk in chunks] == [b"bye"]
        assert [each.calls.pool_manager.closed for each in retired] == [True]
        await transport.request("GET", "/x")
        assert door.connections[-1] == third


async def test_a_new_client_certificate_takes_effect_without_a_restart(tmp_path: Path) -> None:
    """Files of cert-manager or the kubelet: the next call is by the new name, and a watch of the old name ends."""
    authority, door, clock = Authority.make(), Door(), ImpatientClock()
    (tmp_path / "ca.crt").write_text(authority.pem)
    authority.issue("anna").write(tmp_path)
    tls = authority.server_context(clients=True)
    async with serving(door.answer, tmp_path, PAIR, tls=tls, cluster=TRUST, clock=clock) as transport:
        assert await transport.request("GET", "/x") == {"name": "anna"}
        async with transport.stream("GET", "/watch") as chunks:
            assert await anext(chunks) == b"anna"
            authority.issue("bert").write(tmp_path)
            clock.ahead_s = 60
            assert await transport.request("GET", "/x") == {"name": "bert"}
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(anext(chunks), 10)
        door.closed.set()


async def test_a_watch_that_waits_for_a_name_outlives_its_connections(tmp_path: Path) -> None:
    """Sessions that close cancel the lookup, but nobody asked the watch to end: it opens by the new name."""
    authority, door, clock = Authority.make(), Door(), ImpatientClock()
    (tmp_path / "ca.crt").write_text(authority.pem)
    authority.issue("anna").write(tmp_path)
    asked = asyncio.Event()

    class NeverAnswers(AbstractResolver):
        async def resolve(self, *_: object, **__: object) -> list[ResolveResult]:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

        async def close(self) -> None:
            pass

    async def watch(transport: AioTransport) -> bytes:
        async with transport.stream("GET", "/watch") as chunks:
            return await anext(chunks)

    async with listening(door.answer, authority.server_context(clients=True)) as url:
        path = write_kubeconfig(tmp_path / "kubeconfig", url.replace("127.0.0.1", "localhost"), PAIR, TRUST)
        async with AioTransport(kubeconfig=path, clock=clock) as transport:
            transport._connections._sessions.watches.pool_manager.connector._resolver = NeverAnswers()
            watching = asyncio.create_task(watch(transport))
            await asyncio.wait_for(asked.wait(), 10)
            authority.issue("bert").write(tmp_path)
            clock.ahead_s = 60
            assert await transport.request("GET", "/x") == {"name": "bert"}
            assert await asyncio.wait_for(watching, 10) == b"bert"
        door.closed.set()


@pytest.mark.parametrize("breakage", ["half", "garbage", "missing", "empty authority"])
async def test_certificates_that_cannot_be_used_change_nothing(tmp_path: Path, breakage: str) -> None:
    """Two files are not written at once: the old connections stay in use until the new pair is whole."""
    authority, door, clock = Authority.make(), Door(), ImpatientClock()
    (tmp_path / "ca.crt").write_text(authority.pem)
    authority.issue("anna").write(tmp_path)
    bert = authority.issue("bert")
    async with serving(
        door.answer,
        tmp_path,
        PAIR,
        tls=authority.server_context(clients=True),
        cluster=TRUST,
        clock=clock,
    ) as transport:
        assert await transport.request("GET", "/x") == {"name": "anna"}
        match breakage:
            case "half":
                (tmp_path / "tls.crt").write_text(bert.certificate)
            case "garbage":
                (tmp_path / "tls.key").write_text("garbage")
            case "missing":
                (tmp_path / "tls.crt").unlink()
            case _:
                (tmp_path / "ca.crt").write_text("")
        clock.ahead_s = 60
        assert await transport.request("GET", "/x") == {"name": "anna"}
        bert.write(tmp_path)
        (tmp_path / "ca.crt").write_text(authority.pem)
        clock.ahead_s = 120
        assert await transport.request("GET", "/x") == {"name": "bert"}


async def test_certificates_that_cannot_be_used_at_the_start_are_named(tmp_path: Path) -> None:
    """A kubeconfig with a key of another certificate is a mistake of configuration."""
    authority = Authority.make()
    (tmp_path / "ca.crt").write_text(authority.pem)
    authority.issue("anna").write(tmp_path)
    (tmp_path / "tls.crt").write_text(authority.issue("bert").certificate)
    path = write_kubeconfig(tmp_path / "kubeconfig", "https://127.0.0.1:1", PAIR, TRUST)
    transport = AioTransport(kubeconfig=path)
    with pytest.raises(ConfigurationError, match="the certificates cannot be used") as failed:
        await transport.open()
    assert str(path) in str(failed.value)


async def test_a_server_of_a_strange_authority_is_refused(tmp_path: Path) -> None:
    """Nobody who is not trusted gets the token, and the message says what is wrong."""
    (tmp_path / "ca.crt").write_text(Authority.make().pem)
    door = Door()
    async with serving(door.answer, tmp_path, tls=Authority.make().server_context(), cluster=TRUST) as transport:
        for _ in range(2):
            with pytest.raises(ApiConnectionError, match="certificate verify failed"):
                await transport.request("GET", "/x")
    assert door.connections == []


async def test_closing_leaves_no_connection(tmp_path: Path) -> None:
    """Sessions of every generation close with the transport."""
    authority, door, clock = Authority.make(), Door(), ImpatientClock()
    (tmp_path / "ca.crt").write_text(authority.pem)
    async with AsyncExitStack() as stack:
        tls: ssl.SSLContext = authority.server_context()
        url = await stack.enter_async_context(listening(door.answer, tls))
        path = write_kubeconfig(tmp_path / "kubeconfig", url, cluster=TRUST)
        transport = AioTransport(kubeconfig=path, clock=clock)
        stream = transport.stream("GET", "/watch")
        chunks = await stream.__aenter__()
        assert await anext(chunks) == b"nobody"
        (tmp_path / "ca.crt").write_text(authority.pem * 2)
        clock.ahead_s = 60
        await transport.request("GET", "/x")
        await transport.close()
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(anext(chunks), 10)
        await stream.__aexit__(None, None, None)
        with pytest.raises(ApiConnectionError, match="the transport is closed"):
            await transport.request("GET", "/x")
        door.closed.set()
