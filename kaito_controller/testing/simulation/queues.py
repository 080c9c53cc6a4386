"""A world of one work queue: adders, workers that are slow, fail and are cancelled, and a shutdown."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from kaito_controller.machinery.queue.workqueue import QueueShutDown, WorkQueue
from kaito_controller.testing.clock import VirtualClock
from kaito_controller.testing.simulation.faults import Fault
from kaito_controller.testing.simulation.loop import SimulationLoop
from kaito_controller.testing.simulation.trace import Violation
from kaito_controller.testing.simulation.world import World

ITEMS = ("ash", "birch", "cedar", "douglas")
PRIORITIES = (0, 0, 0, -100, 10)
DELAYS_S = (0.0, 0.01, 0.5, 3.0)
LENGTH_S = 8.0
IDLE_S = 1100.0
"""The longest backoff of an item is 1000 s."""


class QueueWorld(World):
    """Nobody holds an item twice, and each that was added is handed out afterwards."""

    name: ClassVar[str] = "queues"
    fault_kinds: ClassVar[tuple[Fault, ...]] = (Fault.SLOW_LOOP, Fault.WALL_CLOCK)

    def __init__(self, seed: int, clock: VirtualClock, loop: SimulationLoop) -> None:
        super().__init__(seed, clock, loop)
        self.queue: WorkQueue[str] = WorkQueue(clock, name="simulated", metrics=self.metrics)
        self.held: set[str] = set()
        self.owed: set[str] = set()
        self.later: set[str] = set()
        self.is_draining = False
        self.idle = 0
        self.taken = 0
        self._workers: list[asyncio.Task[None]] = []
        self._pace_s = self.rng.choice((0.01, 0.1, 0.5))

    async def act(self) -> None:
        """Add items in every way, and cancel a worker now and then."""
        rng = self.rng
        for _ in range(rng.randint(1, 3)):
            self._hire()
        while self.clock.monotonic() < LENGTH_S:
            await self.clock.sleep(rng.expovariate(1 / self._pace_s))
            self.look()
            self._add(rng.choice(ITEMS))
            if rng.random() < 0.05:  # noqa: PLR2004 - now and then
                await self._dismiss()

    async def settle(self) -> None:
        """Wait until all that was added has been handed out, or shut down and drain."""
        if self.rng.random() < 0.5:  # noqa: PLR2004 - a coin
            self.trace.note("actor", "shut down")
            self.is_draining = True
            await asyncio.wait_for(self.queue.shut_down_with_drain(), 60.0)
            self._add(ITEMS[0])
        await self.until("items wait for ever", self._is_idle, IDLE_S, self._told)

    def check(self) -> None:
        """After a shutdown workers end; before, nothing may be left over."""
        if self.is_draining and (len(self.queue) or self.queue.processing or self.queue.delayed):
            raise Violation("the queue has drained and is not empty")

    async def stop(self) -> None:
        """Shut down, and see that every worker ends by itself."""
        self.queue.shut_down(drain=False)
        if self._workers:
            _, stuck = await asyncio.wait(self._workers, timeout=60.0)
            for worker in stuck:
                self.violate("a worker does not end at shutdown")
                worker.cancel()

    async def _see_that_nobody_sleeps(self) -> None:
        """An item that is ready does not wait while a worker does."""
        taken = self.taken
        await self.clock.sleep(0.001)
        if len(self.queue) and self.idle and self.taken == taken:
            self.violate("an item waits though a worker does, too")

    async def _dismiss(self) -> None:
        """Cancel a worker, which may just have been woken for what was added, and hire another one later."""
        self.trace.note("actor", "cancel a worker")
        self.rng.choice([worker for worker in self._workers if not worker.done()]).cancel()
        await self._see_that_nobody_sleeps()
        self._hire()

    def _hire(self) -> None:
        self._workers.append(self.loop.create_task(self._work(), name=f"worker {len(self._workers)}"))

    def _add(self, item: str) -> None:
        rng = self.rng
        how = rng.choice(("add", "add", "after", "limited"))
        self.trace.note("actor", how, item)
        if self.is_draining:
            self.queue.add(item)
            if len(self.queue):
                self.violate("an item was added after shutdown")
            return
        if how == "add":
            self.owed.add(item)
            self.queue.add(item, priority=rng.choice(PRIORITIES))
            return
        if how == "after":
            seconds = rng.choice(DELAYS_S)
            self._expect(item, seconds)
            self.queue.add_after(item, seconds, priority=rng.choice(PRIORITIES))
        else:
            self.later.add(item)
            self.queue.add_rate_limited(item)

    def _expect(self, item: str, seconds: float) -> None:
        if seconds <= 0:
            self.owed.add(item)
        else:
            self.later.add(item)

    async def _work(self) -> None:
        while True:
            self.idle += 1
            try:
                item = await self.queue.get()
            except QueueShutDown:
                return
            finally:
                self.idle -= 1
            self._take(item)
            try:
                if self.rng.random() < 0.7:  # noqa: PLR2004 - most work takes time
                    await self.clock.sleep(self.rng.choice((0.0, 0.05, 1.0)))
            finally:
                self.held.discard(item)
                if self.rng.random() < 0.5:  # noqa: PLR2004 - a coin
                    self.queue.forget(item)
                self.queue.done(item)

    def _take(self, item: str) -> None:
        self.trace.note("worker", "takes", item)
        self.taken += 1
        if item in self.held:
            self.violate(f"{item} is handed out while it is held")
        if item not in self.owed and item not in self.later:
            self.violate(f"{item} is handed out though nobody added it")
        self.held.add(item)
        self.owed.discard(item)
        self.later.discard(item)

    def _is_idle(self) -> bool:
        if self.is_draining:
            return not self.owed and not self.held
        return not self.owed and not self.held and not len(self.queue) and not self.queue.delayed

    def _told(self) -> str:
        return f"owed: {sorted(self.owed)}, held: {sorted(self.held)}, {len(self.queue)} wait"
