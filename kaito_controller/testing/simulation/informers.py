"""A world of informers: whatever happens on the way, each ends up with what the server has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import ClassVar

from attrs import define, field

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, labels, namespace, resource_version
from kaito_controller.machinery.cache.event import AsyncHandler, Event, Handler
from kaito_controller.machinery.cache.informer import Informer, Registration
from kaito_controller.machinery.client.client import Client
from kaito_controller.testing.clock import VirtualClock
from kaito_controller.testing.simulation.history import History
from kaito_controller.testing.simulation.lines import STALL_S
from kaito_controller.testing.simulation.link import Link
from kaito_controller.testing.simulation.loop import SimulationLoop
from kaito_controller.testing.simulation.population import NAMESPACES, Population
from kaito_controller.testing.simulation.trace import Violation
from kaito_controller.testing.simulation.witness import Witness
from kaito_controller.testing.simulation.world import World

CONVERGE_S = 900.0
"""A stream that went silent before its first bookmark is noticed after 630 s; then come a backoff and a list."""
LENGTHS_S = (10.0, 60.0, 60.0, 300.0, 1200.0)
BY_APP = "app"
MOST_HANDLERS = 12


@define(eq=False)
class _Watched:
    """One informer with its handlers."""

    name: str
    informer: Informer
    matches: Callable[[Object], bool]
    metadata_only: bool
    witnesses: dict[Witness, Registration] = field(factory=dict)
    is_indexed: bool = False


class InformerWorld(World):
    """Objects change at random; informers of several kinds of question watch; handlers come and go."""

    name: ClassVar[str] = "informers"

    def __init__(self, seed: int, clock: VirtualClock, loop: SimulationLoop) -> None:
        super().__init__(seed, clock, loop)
        self.history = History(self.server, CONFIG_MAPS)
        self.population = Population(self.server, self.history, self.rng, self.trace)
        self.watched: list[_Watched] = []
        self.meddles = self.rng.random() < 0.3  # noqa: PLR2004 - some worlds
        self._handlers = 0
        self._running: list[asyncio.Task[None]] = []

    async def act(self) -> None:
        """Change objects for a while, and have informers and handlers appear meanwhile."""
        rng = self.rng
        length_s = rng.choice(LENGTHS_S)
        pause_s = length_s / rng.choice((5, 20, 60))
        for _ in range(rng.randrange(6)):
            self.population.step()
        for _ in range(rng.randint(1, 3)):
            self._add_informer()
        while self.clock.monotonic() < length_s:
            await self.clock.sleep(rng.expovariate(1 / pause_s))
            self.look()
            for _ in range(rng.choice((1, 1, 1, 4))):
                self.population.step()
            if rng.random() < 0.1:  # noqa: PLR2004 - now and then
                self._change_handlers()
        self.meddles = False

    async def settle(self) -> None:
        """Wait until each store holds what the server has."""
        await self.until("the stores are not like the server", self._is_like_server, CONVERGE_S, self._differences)
        # A line that stalls on its way may be of a state that is like the present one by chance: that of no objects.
        await self.clock.sleep(2 * STALL_S)
        await self.until("the stores are not like the server", self._is_like_server, CONVERGE_S, self._differences)
        # What a handler is told in a task of its own comes a little later.
        await self.until("handlers are not told", lambda: not any(self._backlogs()), CONVERGE_S)
        await self.clock.sleep(2.0)

    def check(self) -> None:
        """Contents, indexes, and what the handlers made of it all."""
        for watched in self.watched:
            store = watched.informer.store
            self._check_content(watched)
            for witness in watched.witnesses:
                if witness.objects != {name: store.get(name) for name in store.keys()}:  # noqa: SIM118 - no mapping
                    raise Violation(f"{witness.name}: what it was told does not add up to the store")
            if watched.is_indexed:
                for app in store.index_values(BY_APP):
                    found = store.by_index(BY_APP, app)
                    expected = [obj for obj in store.list() if labels(obj).get("app") == app]
                    if sorted(map(resource_version, found)) != sorted(map(resource_version, expected)) or not found:
                        raise Violation(f"{watched.name}: the index of app={app} is wrong")

    async def stop(self) -> None:
        """End the informers."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _add_informer(self) -> None:
        rng = self.rng
        space = rng.choice((None, None, *NAMESPACES))
        app = rng.choice(("", "", "one"))
        metadata_only = rng.random() < 0.2  # noqa: PLR2004 - one in five
        watch_list = rng.random() < 0.6  # noqa: PLR2004 - the default, mostly
        number = len(self.watched)
        name = f"informer {number} ({space or 'all'}, app={app or 'any'}, metadata={metadata_only}, list={watch_list})"

        def matches(obj: Object) -> bool:
            return space in {None, namespace(obj)} and (not app or labels(obj).get("app") == app)

        informer = Informer(
            CONFIG_MAPS,
            Client(Link(self.network, "")),
            self.clock,
            namespace=space,
            label_selector=f"app={app}" if app else "",
            rng=self.draws(f"informer {number}"),
            metadata_only=metadata_only,
            watch_list=watch_list,
            page_size=rng.choice((None, None, 2)),
            resync_s=rng.choice((0.0, 0.0, 7.0)),
        )
        self.trace.note("actor", "start", name)
        watched = _Watched(name, informer, matches, metadata_only)
        self.watched.append(watched)
        if rng.random() < 0.5:  # noqa: PLR2004 - a coin
            self._index(watched)
        self._add_handler(watched)
        self._running.append(self.loop.create_task(informer.run(), name=name))

    def _change_handlers(self) -> None:
        watched = self.rng.choice(self.watched)
        if not watched.is_indexed:
            self._index(watched)
        if watched.witnesses and self.rng.random() < 0.4:  # noqa: PLR2004 - more come than go
            witness = self.rng.choice(list(watched.witnesses))
            self.trace.note("actor", "remove", witness.name)
            watched.witnesses.pop(witness).remove()
            witness.is_removed = True
        else:
            self._add_handler(watched)

    def _add_handler(self, watched: _Watched) -> None:
        self._handlers += 1
        name = f"{watched.name} handler {self._handlers}"
        self.trace.note("actor", "add", name)
        # Plain functions are the rule.
        is_inline = self.rng.random() < 0.7  # noqa: PLR2004
        witness = Witness(
            name,
            self.history,
            self.violate,
            metadata_only=watched.metadata_only,
            store=watched.informer.store if is_inline else None,
            then=self._meddle,
        )
        handler: Handler | AsyncHandler = witness if is_inline else self._slowly(witness)
        watched.witnesses[witness] = watched.informer.add_handler(handler)

    def _meddle(self) -> None:
        """What a handler that is just being told of something may do: add and remove handlers, itself too."""
        if self.meddles and self.rng.random() < 0.05 and self._handlers < MOST_HANDLERS:  # noqa: PLR2004 - now and then
            self._change_handlers()

    def _slowly(self, witness: Witness) -> AsyncHandler:
        async def handle(event: Event) -> None:
            await self.clock.sleep(self.rng.choice((0.0, 0.0, 0.1, 1.0)))
            witness(event)

        return handle

    def _index(self, watched: _Watched) -> None:
        watched.is_indexed = True
        watched.informer.add_index(BY_APP, lambda obj: [labels(obj)["app"]] if "app" in labels(obj) else [])

    def _is_like_server(self) -> bool:
        return all(
            each.informer.has_synced and self._versions(each) == self.history.versions(each.matches)
            for each in self.watched
        )

    def _backlogs(self) -> Iterator[int]:
        return (registration.backlog for each in self.watched for registration in each.witnesses.values())

    def _versions(self, watched: _Watched) -> dict[str, str]:
        store = watched.informer.store
        return {name: resource_version(store.get(name) or {}) for name in store.keys()}  # noqa: SIM118 - no mapping

    def _differences(self) -> str:
        return "; ".join(
            f"{each.name}: has {self._versions(each)}, should have {self.history.versions(each.matches)}"
            for each in self.watched
            if self._versions(each) != self.history.versions(each.matches)
        )

    def _check_content(self, watched: _Watched) -> None:
        witness = Witness(f"{watched.name} store", self.history, self.violate, metadata_only=watched.metadata_only)
        for name in watched.informer.store.keys():  # noqa: SIM118 - no mapping
            obj = watched.informer.store.get(name)
            if obj is not None:
                witness.check_truth(obj, name)
