"""A controller over scripted ConfigMaps, in virtual time: what a test of the controller's life needs each time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.controller.controller import Controller
from kaito_controller.machinery.controller.source import Watch, enqueue_self
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.queue.workqueue import WorkQueue
from kaito_controller.machinery.reconcile.request import Request, Result
from kaito_controller.testing.clock import VirtualClock
from kaito_controller.testing.transport import ScriptedTransport, Stream, listing, obj

Act = Callable[[Request], Awaitable[Any]]

MAPS = Watch(CONFIG_MAPS, enqueue_self)


class Acting:
    """A reconciler that writes down when it was asked what, and does what the test says."""

    def __init__(self, clock: VirtualClock, act: Act) -> None:
        self._clock = clock
        self._act = act
        self.calls: list[tuple[float, str]] = []

    async def reconcile(self, request: Request) -> Result:
        """Act."""
        self.calls.append((round(self._clock.monotonic(), 6), request.key))
        result: Result = await self._act(request)
        return result

    @property
    def times(self) -> list[float]:
        """When it was asked."""
        return [at for at, _ in self.calls]

    def times_of(self, name: str) -> list[float]:
        """When it was asked for one object of the namespace `default`."""
        return [at for at, key in self.calls if key == f"default/{name}"]


class HeldFeed:
    """A feed that syncs after a time, and adds what it is told to."""

    def __init__(self, clock: VirtualClock, name: str, syncs_after_s: float = 0.0) -> None:
        self._clock = clock
        self.name = name
        self._syncs_after_s = syncs_after_s
        self.started_at: list[float] = []
        self.queue: WorkQueue[Request] | None = None
        self.is_stopped = False

    def start(self, queue: WorkQueue[Request]) -> None:
        """Note when."""
        self.started_at.append(self._clock.monotonic())
        self.queue = queue

    async def wait_synced(self) -> None:
        """Take the time it takes."""
        await self._clock.sleep(self._syncs_after_s)

    async def stop(self) -> None:
        """Note it."""
        self.is_stopped = True


class Controlled:
    """One controller with its metrics, its transport and its reconciler."""

    def __init__(
        self,
        clock: VirtualClock,
        act: Act,
        *,
        objects: Iterable[Object] = (),
        streams: Iterable[Stream] = (),
        watches: Iterable[Any] = (MAPS,),
        **more: Any,
    ) -> None:
        self.clock = clock
        self.metrics = Metrics()
        self.reconciler = Acting(clock, act)
        self.transport = ScriptedTransport(clock)
        self.transport.answers.append(listing(CONFIG_MAPS, "10", *objects))
        self.transport.streams.extend(streams)
        rng = Random(1)  # noqa: S311 - for a test to have the same again
        self.cache = Cache(Client(self.transport), clock, self.metrics, rng=rng)
        self.controller = Controller(
            "maps", self.reconciler, tuple(watches), self.cache, clock, self.metrics, rng=rng, **more
        )
        self.stop = asyncio.Event()

    def metric(self, name: str, **labels: str) -> float | None:
        """A sample of this controller, without the prefix of its name."""
        return self.metrics.registry.get_sample_value(f"controller_runtime_{name}", {"controller": "maps", **labels})


@asynccontextmanager
async def controlled(clock: VirtualClock, act: Act, **more: Any) -> AsyncIterator[Controlled]:
    """Run a controller; at the end it is stopped and must end without an error."""
    made = Controlled(clock, act, **more)
    made.cache.start()
    running = asyncio.create_task(made.controller.run(made.stop))
    try:
        yield made
    finally:
        made.stop.set()
        try:
            await running
        finally:
            await made.cache.stop()


def cm(name: str, version: str = "1") -> Object:
    """A ConfigMap."""
    return obj(CONFIG_MAPS, name, version)


async def done(_: Request) -> Result:
    """A reconcile with nothing to do."""
    return Result.done()
