"""All connections to the API server, and what happens to the server itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from attrs import define, field

from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiConnectionError
from kaito_controller.testing.fake.server import FakeServer
from kaito_controller.testing.simulation import answers
from kaito_controller.testing.simulation.faults import Fault, Faults
from kaito_controller.testing.simulation.loop import context_of
from kaito_controller.testing.simulation.pipe import Pipe
from kaito_controller.testing.simulation.trace import Trace

LATENCIES_S = (0.001, 0.005, 0.005, 0.05, 0.3)
"""Mean seconds that a message takes; one of them in each world."""


@define(eq=False)
class Network:
    """All connections to one server. What it carries runs apart from the processes, as a kernel and a cable do.

    Attributes:
        broken: told when the network itself fails, which is a defect of the simulation.
        deaf_until: until then nobody listens, because the server restarts.
        outage_until: until then the server is not ready.
    """

    server: FakeServer
    clock: Clock
    rng: Random
    trace: Trace
    faults: Faults
    broken: Callable[[str], None]
    latency_s: float = field(init=False)
    outage_until: float = 0.0
    deaf_until: float = 0.0
    requests: list[tuple[float, str]] = field(init=False, factory=list)
    _pumps: dict[asyncio.Task[None], Pipe] = field(init=False, factory=dict)
    _tasks: set[asyncio.Task[None]] = field(init=False, factory=set)

    def __attrs_post_init__(self) -> None:
        self.latency_s = self.rng.choice(LATENCIES_S)

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return len(self._pumps)

    @property
    def under_way(self) -> int:
        """How many requests are being carried or answered."""
        return len(self._tasks)

    def hang_up(self) -> None:
        """End all streams, some in good order and some not."""
        for pipe in list(self._pumps.values()):
            pipe.end(ApiConnectionError("connection reset by peer") if self.rng.random() < 0.5 else None)  # noqa: PLR2004

    def restart(self, seconds: float) -> None:
        """End all streams and let nobody in for that long: at first nobody listens, then the server is not ready."""
        self.hang_up()
        self.outage_until = self.clock.monotonic() + seconds
        self.deaf_until = self.clock.monotonic() + seconds * self.rng.random()

    def recover(self) -> None:
        """Let everybody in again."""
        self.outage_until = self.deaf_until = 0.0

    def travel_s(self) -> float:
        """Seconds that one message takes."""
        return self.rng.random() * 2 * self.latency_s

    def run(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run something outside of any process."""
        task = asyncio.get_running_loop().create_task(work, name=name, context=context_of(""))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.broken(f"{task.get_name()}: {error!r}")

    def pump(self, work: Coroutine[Any, Any, None], pipe: Pipe) -> asyncio.Task[None]:
        """Run what feeds a stream."""
        task = self.run(work, "pump")
        self._pumps[task] = pipe
        task.add_done_callback(self._pumps.pop)
        return task

    def outage(self) -> Exception | None:
        """What a restarting server does to a request, if it restarts."""
        now = self.clock.monotonic()
        if now >= self.outage_until:
            return None
        return answers.refusal(Fault.REFUSED if now < self.deaf_until else Fault.BUSY_AFTER)
