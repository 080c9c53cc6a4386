"""A world of one event recorder: outages cost it events at most, and it never writes one twice."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from kaito_controller.kube.core import EVENTS
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.events.recorder import QUEUE_LIMIT, EventRecorder
from kaito_controller.testing.clock import VirtualClock
from kaito_controller.testing.simulation.faults import CALL, Fault
from kaito_controller.testing.simulation.link import Link
from kaito_controller.testing.simulation.loop import SimulationLoop
from kaito_controller.testing.simulation.trace import Violation
from kaito_controller.testing.simulation.world import World

REASONS = ("Created", "Failed")
LENGTHS_S = (10.0, 60.0, 900.0)
DRAIN_S = 600.0
"""A dozen tries, ten seconds apart, of each event that is under way when the faults end; then no try fails."""


class RecorderWorld(World):
    """Things happen to two objects; a recorder tells of them through a bad network."""

    name: ClassVar[str] = "recorder"
    fault_kinds: ClassVar[tuple[Fault, ...]] = (*CALL, Fault.RESTART, Fault.WALL_CLOCK, Fault.SLOW_LOOP)

    def __init__(self, seed: int, clock: VirtualClock, loop: SimulationLoop) -> None:
        super().__init__(seed, clock, loop)
        self.recorder = EventRecorder(
            client=Client(Link(self.network, "")),
            clock=clock,
            rng=self.draws("recorder"),
            metrics=self.metrics,
            controller="simulated",
            instance="simulated-1",
        )
        self.recorded = 0
        self._running: asyncio.Task[None] | None = None

    async def act(self) -> None:
        """Record events at random."""
        rng = self.rng
        length_s = rng.choice(LENGTHS_S)
        self._running = self.loop.create_task(self.recorder.run(), name="recorder")
        while self.clock.monotonic() < length_s:
            await self.clock.sleep(rng.expovariate(10 / length_s))
            self.look()
            for _ in range(rng.choice((1, 1, 2, 5))):
                self._record()
            events = self.server.objects(EVENTS)
            if events and rng.random() < 0.1:  # noqa: PLR2004 - they expire
                lost = rng.choice(events)
                self.server.delete(EVENTS, lost["metadata"]["name"], lost["metadata"]["namespace"])

    async def settle(self) -> None:
        """Wait until everything recorded is sent or dropped."""
        await self.until("events are not sent", lambda: not self.recorder._queue, DRAIN_S)  # noqa: SLF001 - no other way
        if self._running is None or self._running.done():
            raise Violation("the recorder has ended")

    def check(self) -> None:
        """No event is on the server that was not recorded, and none twice."""
        events = self.server.objects(EVENTS)
        told = sum(int((event.get("series") or {}).get("count", 1)) for event in events)
        if told > self.recorded:
            raise Violation(f"{self.recorded} events were recorded, the server was told of {told}")

    async def stop(self) -> None:
        """Stop, and send what is left."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
        await self.recorder.close()

    def _record(self) -> None:
        rng = self.rng
        name = rng.choice(("ash", "birch"))
        regarding = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"},
        }
        reason = rng.choice(REASONS)
        self.trace.note("actor", "record", name, reason)
        self.recorded += 1
        self.recorder.event(regarding, "Normal", reason, f"it {rng.choice(('has', 'had'))} happened")
        if len(self.recorder._queue) > QUEUE_LIMIT:  # noqa: SLF001 - no other way
            self.violate("more events wait than may")
