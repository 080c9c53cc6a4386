"""A world of one operator: manager, caches, queue, workers and a reconciler, restarted and disturbed all the time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import ClassVar

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, generation, labels, name, namespace, resource_version
from kaito_controller.machinery.cache.cache import Cache, CacheSyncError
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.controller.controller import Controller, FeedSyncError
from kaito_controller.machinery.controller.source import Watch, enqueue_self
from kaito_controller.machinery.manager.manager import GraceExceededError, Manager
from kaito_controller.testing.clock import VirtualClock
from kaito_controller.testing.simulation.history import History
from kaito_controller.testing.simulation.link import Link
from kaito_controller.testing.simulation.loop import SimulationLoop, context_of
from kaito_controller.testing.simulation.reconciling import (
    OWNER,
    WIDGETS,
    WidgetReconciler,
    desired,
    is_as_desired,
    owners,
    wakes,
)
from kaito_controller.testing.simulation.users import Users
from kaito_controller.testing.simulation.world import World

CONVERGE_S = 1500.0
"""As an informer takes at most, then the longest backoff that a key reached while the faults lasted, and a hang."""
LENGTHS_S = (10.0, 30.0, 100.0, 300.0)
EXPECTED_ENDS = (CacheSyncError, FeedSyncError, GraceExceededError)
"""How a manager may end by itself when the server does not answer; it is started again then."""


class ControllerWorld(World):
    """Widgets come, change and go; an operator keeps their children; vandals change those."""

    name: ClassVar[str] = "controllers"
    requests_limit: ClassVar[int] = 120

    def __init__(self, seed: int, clock: VirtualClock, loop: SimulationLoop) -> None:
        super().__init__(seed, clock, loop)
        self.server.serve(WIDGETS)
        self.widgets = History(self.server, WIDGETS)
        self.children = History(self.server, CONFIG_MAPS)
        self.users = Users(
            server=self.server,
            clock=clock,
            rng=self.rng,
            trace=self.trace,
            widgets=self.widgets,
            children=self.children,
            haste=self.rng.choice((0.0, 0.0, 0.3)),
        )
        self.trouble = self.rng.choice((0.0, 0.0, 0.05, 0.3))
        self.restarts = self.rng.choice((0.0, 0.0, 0.05, 0.2))
        self.workers = self.rng.choice((1, 1, 3))
        self.reconciler: WidgetReconciler | None = None
        self._lives = 0
        self._stop, self._died = asyncio.Event(), asyncio.Event()
        self._is_over = False
        self._link: Link | None = None
        self._operator: asyncio.Task[None] | None = None
        self._ghosts: list[asyncio.Task[None]] = []
        self._dying: set[asyncio.Task[None]] = set()

    async def act(self) -> None:
        """Change widgets and children for a while, and restart the operator meanwhile."""
        rng = self.rng
        length_s = rng.choice(LENGTHS_S)
        pause_s = length_s / rng.choice((4, 12, 30))
        for _ in range(rng.randrange(4)):
            self.users.step()
        self._start()
        while self.clock.monotonic() < length_s:
            await self.clock.sleep(rng.expovariate(1 / pause_s))
            self.look()
            self.users.step()
            if rng.random() < self.restarts:
                await self._end_operator(rng.choice(("stop", "cancel", "kill")))
                await self.clock.sleep(rng.random() * 5)
                self._start()
        self.trouble = self.users.haste = 0.0

    async def settle(self) -> None:
        """Wait until every widget has its children and its status, and the reconciler has seen that."""
        await self.until("the world is not as desired", lambda: not self._faults_left(), CONVERGE_S, self._faults_left)

    def check(self) -> None:
        """That nothing is amiss was waited for."""

    async def stop(self) -> None:
        """Stop the operator in good order, and let those that were killed go."""
        self._is_over = True
        await self._end_operator("stop")
        for ghost in self._ghosts:
            if ghost not in self._dying:
                ghost.cancel()
        for life in range(self._lives + 1):
            self.loop.thaw(_process(life))
        await asyncio.gather(*self._ghosts, return_exceptions=True)

    def _start(self) -> None:
        if self._is_over or self._operator is not None:
            return
        self._lives += 1
        self._stop, self._died = asyncio.Event(), asyncio.Event()
        process = _process(self._lives)
        self.trace.note("actor", "start", process)
        self._operator = self.loop.create_task(self._run(process), name=process, context=context_of(process))

    async def _end_operator(self, how: str) -> None:
        operator, stop, process = self._operator, self._stop, _process(self._lives)
        if operator is None:
            return
        self.trace.note("actor", how, process)
        self._operator = None
        if how == "kill":
            self._vanish(process, operator)
            stop.set()
            return
        if how == "stop":
            stop.set()
        else:
            operator.cancel()
            self.clock.call_later(0, stop.set)
        dying = self.loop.create_task(self._died.wait(), name="death")
        await asyncio.wait({operator, dying}, return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if not operator.done():
            self._dying.add(operator)
            self._vanish(process, operator)

    def _vanish(self, process: str, operator: asyncio.Task[None]) -> None:
        """Nothing of a process runs any more, not even what cleans up."""
        self.loop.freeze(process)
        if self._link is not None:
            self._link.cut = lambda: True
        self._ghosts.append(operator)

    def _die(self, why: str) -> None:
        """What the operator does to its own process when nothing else helps."""
        self.trace.note("operator", "dies:", why)
        self._died.set()
        operator = self._operator
        if operator is not None:
            # It was not asked to stop, so the kubelet starts it again.
            self._operator = None
            self._dying.add(operator)
            self._vanish(_process(self._lives), operator)
            self._stop.set()
            self.clock.call_later(10.0, self._start)

    async def _run(self, process: str) -> None:
        """One process of the operator, which the kubelet starts again whenever it ends by itself."""
        stop = self._stop
        while not stop.is_set():
            self._link = Link(self.network, process)
            client = Client(self._link)
            cache = Cache(client, self.clock, rng=self.draws(f"cache {process}"))
            cache.informer(CONFIG_MAPS).add_index(OWNER, owners)
            self.reconciler = self._reconciler(client, cache)
            controller = Controller(
                "widgets",
                self.reconciler,
                [Watch(WIDGETS, enqueue_self), Watch(CONFIG_MAPS, wakes)],
                cache,
                self.clock,
                self.metrics,
                workers=self.workers,
                warms_up=self.rng.random() < 0.3,  # noqa: PLR2004 - some
                unique_name=False,
                rng=self.draws(f"controller {process}"),
            )
            manager = Manager(cache, self.clock, self.metrics, on_stuck=self._die)
            manager.add(controller)
            try:
                await manager.run(stop)
            except EXPECTED_ENDS as error:
                self.trace.note(process, "ended", type(error).__name__)
            except Exception as error:  # noqa: BLE001 - whatever else ends an operator is a finding
                self.violate(f"the operator ended with {error!r}")
                return
            if not stop.is_set():
                # As the kubelet, which waits longer and longer; ten seconds are its first wait.
                await self.clock.sleep(10.0)

    def _reconciler(self, client: Client, cache: Cache) -> WidgetReconciler:
        return WidgetReconciler(
            client=client,
            cache=cache,
            clock=self.clock,
            rng=self.draws(f"reconciler {self._lives}"),
            has_synced=lambda: cache.informer(WIDGETS).has_synced and cache.informer(CONFIG_MAPS).has_synced,
            violate=self.violate,
            trouble=lambda: self.trouble,
        )

    def _faults_left(self) -> str:
        """What is not yet as it should be; empty when all is well."""
        for widget in self.widgets.now.values():
            wrong = self._wrong_with(widget)
            if wrong:
                return f"{namespace(widget)}/{name(widget)}: {wrong}"
        for child in self.children.now.values():
            if f"{namespace(child)}/{labels(child).get(OWNER)}" not in self.widgets.now:
                return f"{name(child)} is an orphan"
        if self.reconciler is not None and self.reconciler.held:
            return f"{sorted(self.reconciler.held)} are being reconciled"
        return self._unseen()

    def _wrong_with(self, widget: Object) -> str:
        wanted = desired(widget)
        mine = {
            name(child): child
            for child in self.children.now.values()
            if owners(child) == (f"{namespace(widget)}/{name(widget)}",)
        }
        if sorted(mine) != sorted(wanted):
            return f"has children {sorted(mine)}, wants {sorted(wanted)}"
        for child_name, child in wanted.items():
            if not is_as_desired(mine[child_name], child):
                return f"{child_name} is not as desired"
        status: Mapping[str, object] = widget.get("status") or {}
        if status != {"observedGeneration": generation(widget), "children": len(wanted)}:
            return f"status is {status}, generation is {generation(widget)}"
        return ""

    def _unseen(self) -> str:
        """Every widget must have been reconciled after its last change."""
        seen = self.reconciler.seen if self.reconciler is not None else {}
        for widget_key, widget in self.widgets.now.items():
            if seen.get(widget_key) != resource_version(widget):
                return f"{widget_key} at {resource_version(widget)} was last reconciled at {seen.get(widget_key)}"
        return ""


def _process(life: int) -> str:
    return f"operator-{life}"
