"""One test, played on three stages: the fake in memory, the fake over HTTP, and a real kube-apiserver.

Whatever a test finds different between them is a mistake of the fake.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from attrs import define, field, frozen

from kaito_controller.kube.core import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, SERVICE_ACCOUNTS
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery import codec
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import Clock, RealClock
from kaito_controller.machinery.errors import ApiError, is_not_found, is_too_many_requests
from kaito_controller.machinery.transport import AioTransport, Transport
from kaito_controller.testing.apiserver import APIServer
from kaito_controller.testing.clock import VirtualClock, run
from kaito_controller.testing.fake import gadgets
from kaito_controller.testing.fake.http import kubeconfig, serve_http
from kaito_controller.testing.fake.server import FakeServer
from kaito_controller.testing.fake.transport import FakeTransport

USER_AGENT = "tester"
"""Whom updates without a field manager are recorded for."""
_numbers = itertools.count(1)


@define
class Watcher:
    """An open watch, event by event."""

    chunks: AsyncIterator[bytes]
    within_s: float = 5.0
    _lines: codec.LineSplitter = field(factory=codec.LineSplitter)
    _events: list[Object] = field(factory=list)

    async def next(self) -> Object:
        """The next event; fails when none comes in time, or the stream ends."""
        while not self._events:
            async with asyncio.timeout(self.within_s):
                chunk = await anext(self.chunks)
            self._events += [codec.loads(line) for line in self._lines.feed(chunk)]
        return self._events.pop(0)

    async def take(self, count: int) -> list[Object]:
        """So many events."""
        return [await self.next() for _ in range(count)]

    async def rest(self) -> list[Object]:
        """Everything until the server ends the stream."""
        found = []
        try:
            while True:
                found.append(await self.next())
        except StopAsyncIteration:
            return found


@frozen(kw_only=True)
class World:
    """A server and a namespace of the test's own in it.

    Attributes:
        virtual: whether time is virtual, so that hours may pass.
        forget: make the server forget its history, as compaction and a restart do.
        fake: the server when it is a fake, else None.
    """

    transport: Transport
    namespace: str
    clock: Clock
    forget: Callable[[], Awaitable[None]]
    virtual: bool = False
    fake: FakeServer | None = None

    @property
    def client(self) -> Client:
        """The administrator's client."""
        return Client(self.transport)

    @asynccontextmanager
    async def watch(
        self,
        resource: Resource,
        namespace: str | None = "",
        *,
        accept: str = "application/json",
        **query: str,
    ) -> AsyncIterator[Watcher]:
        """Open a watch, in the test's namespace unless told otherwise (None: in all)."""
        where = self.namespace if namespace == "" else namespace
        path = resource.path(where if resource.namespaced else None)
        async with self.watch_path(path, accept=accept, **query) as watcher:
            yield watcher

    @asynccontextmanager
    async def watch_path(self, path: str, *, accept: str = "application/json", **query: str) -> AsyncIterator[Watcher]:
        """Open a watch of a path."""
        asked = {"watch": "true", "timeoutSeconds": "20"} | query
        async with self.transport.stream("GET", path, query=asked, accept=accept) as chunks:
            yield Watcher(chunks)

    async def until_served(self, resource: Resource) -> None:
        """Wait until a kind that was just defined is served: a real server takes a moment."""
        for _ in range(100):
            try:
                await self.client.list_page(resource)
            except ApiError as error:
                if not (is_not_found(error) or is_too_many_requests(error)):
                    raise
                await self.clock.sleep(0.1)
            else:
                return
        raise AssertionError(f"{resource.plural}.{resource.group}: not served after 10 s")


Scene = Callable[..., Coroutine[Any, Any, None]]


class Stage(Protocol):
    """Where a test is played."""

    def play(self, scene: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        """Run a test from beginning to end."""
        ...


class MemoryStage:
    """The fake, in memory and in virtual time."""

    def play(self, scene: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        """Run a test against a server of its own."""

        async def main(clock: VirtualClock) -> None:
            server = _fake(clock)
            transport = FakeTransport(server, user_agent=USER_AGENT)
            await scene(await _opened_on(server, transport, virtual=True))

        run(main)


@frozen
class HttpStage:
    """The fake, over HTTP on loopback and in real time."""

    folder: Path

    def play(self, scene: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        """Run a test against a server of its own."""

        async def main() -> None:
            clock = RealClock()
            server = _fake(clock)
            async with serve_http(server) as url:
                path = self.folder / "kubeconfig"
                path.write_text(json.dumps(kubeconfig(url)))
                async with AioTransport(kubeconfig=path, user_agent=USER_AGENT) as transport:
                    await scene(await _opened_on(server, transport))

        asyncio.run(main())


@frozen
class RealStage:
    """A kube-apiserver with etcd, shared by the tests of a session."""

    server: APIServer

    def play(self, scene: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        """Run a test in a namespace of its own."""

        async def main() -> None:
            async with AioTransport(kubeconfig=self.server.kubeconfig, user_agent=USER_AGENT) as transport:
                await scene(await _opened(transport, RealClock(), forget=self._forget))

        asyncio.run(main())

    async def _forget(self) -> None:
        await asyncio.to_thread(self.server.compact_etcd)
        await asyncio.to_thread(self.server.restart_apiserver)


def _fake(clock: Clock) -> FakeServer:
    """A fake in front of an etcd with default flags, as the real one of the tests has."""
    return FakeServer(clock, random.Random(1), notifies=False)  # noqa: S311 - names and timeouts of a fake


async def _opened_on(fake: FakeServer, transport: Transport, *, virtual: bool = False) -> World:
    async def forget() -> None:
        fake.compact()

    return await _opened(transport, fake.clock, forget=forget, virtual=virtual, fake=fake)


async def _opened(
    transport: Transport,
    clock: Clock,
    *,
    forget: Callable[[], Awaitable[None]],
    virtual: bool = False,
    fake: FakeServer | None = None,
) -> World:
    """A fresh namespace, and the gadgets served."""
    client = Client(transport)
    namespace = f"world-{next(_numbers)}"
    world = World(transport=transport, namespace=namespace, clock=clock, forget=forget, virtual=virtual, fake=fake)
    await client.create(NAMESPACES, {"metadata": {"name": namespace}})
    await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default", "namespace": namespace}})
    if await client.find(CUSTOM_RESOURCE_DEFINITIONS, "gadgets.example.com") is None:
        await client.create(CUSTOM_RESOURCE_DEFINITIONS, gadgets.definition())
        await world.until_served(gadgets.GADGETS)
    return world


def everywhere(scene: Scene) -> Callable[..., None]:
    """Make an `async def test_x(world, ...)` run on the stage that the fixture `stage` gives."""

    @functools.wraps(scene)
    def wrapper(*args: Any, stage: Stage, **kwargs: Any) -> None:
        stage.play(lambda world: scene(world, *args, **kwargs))

    parameters = list(inspect.signature(scene).parameters.values())[1:]
    stage = inspect.Parameter("stage", inspect.Parameter.KEYWORD_ONLY)
    wrapper.__signature__ = inspect.Signature([*parameters, stage])  # type: ignore[attr-defined]
    return wrapper
