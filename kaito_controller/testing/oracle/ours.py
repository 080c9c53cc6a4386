"""Our informer, playing scenarios over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, field

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, key, labels, resource_version, uid
from kaito_controller.machinery.cache.event import Change, Event
from kaito_controller.machinery.cache.informer import Informer
from kaito_controller.machinery.cache.registration import Registration
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.loopback import write_kubeconfig
from kaito_controller.testing.oracle.outcome import Line, Outcome
from kaito_controller.testing.oracle.script import LAST, Action, HandlerOption, Scenario
from kaito_controller.testing.oracle.server import ScriptServer

PATIENCE_S = 20.0
TEAM = "team"


async def play_all(scenarios: Sequence[Scenario], server: ScriptServer, folder: Path) -> Mapping[str, Outcome]:
    """Every scenario at once, each by a client of its own."""
    async with asyncio.TaskGroup() as group:
        tasks = {each.name: group.create_task(_Player(each, server).play(folder)) for each in scenarios}
    return {name: task.result() for name, task in tasks.items()}


@define
class _Player:
    scenario: Scenario
    server: ScriptServer
    log: dict[str, list[Line]] = field(init=False, factory=dict)
    told: dict[str, set[str]] = field(init=False, factory=dict)
    handles: dict[str, Registration] = field(init=False, factory=dict)
    waiting: set[str] = field(init=False, factory=set)
    actions: list[Action] = field(init=False, factory=list)
    over: asyncio.Event = field(init=False, factory=asyncio.Event)

    async def play(self, folder: Path) -> Outcome:
        name = self.scenario.name
        kubeconfig = write_kubeconfig(folder / f"{name}.kubeconfig", f"{self.server.url}/s/{name}", user={})
        async with AioTransport(kubeconfig=kubeconfig) as transport:
            informer = Informer(
                CONFIG_MAPS,
                Client(transport),
                RealClock(),
                rng=Random(name),  # noqa: S311 - spreads waits, guards nothing
                watch_list=self.scenario.watch_list,
                resync_s=max(option.resync_s for option in self.scenario.handlers),
            )
            informer.add_index(TEAM, _teams)
            self.actions = list(self.scenario.actions)
            self.waiting = {option.name for option in self.scenario.handlers}
            for option in self.scenario.handlers:
                if not option.late:
                    self._add(informer, option)
            running = asyncio.create_task(informer.run())
            problem = ""
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self.over.wait()
            except TimeoutError:
                problem = "the last object did not reach every handler"
            outcome = self._outcome(informer, problem)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return outcome

    def _add(self, informer: Informer, option: HandlerOption) -> None:
        def handle(event: Event) -> None:
            if event.object["metadata"]["name"] == LAST:
                self._end(option.name)
                return
            self.log.setdefault(option.name, []).append(line(event))
            self._act(informer, f"{event.key}@{resource_version(event.object)}", option.name)
            if event.key == option.fails_on:
                raise RuntimeError("this handler fails on this object")

        self.handles[option.name] = informer.add_handler(handle, resync_s=option.resync_s)

    def _act(self, informer: Informer, seen: str, handler: str) -> None:
        """Do what is due once every handler that is there has been told of the object."""
        told = self.told.setdefault(seen, set())
        told.add(handler)
        if told != set(self.handles):
            return
        due = [action for action in self.actions if action.after == seen]
        self.actions = [action for action in self.actions if action not in due]
        for action in due:
            self._do(informer, action)

    def _do(self, informer: Informer, action: Action) -> None:
        if action.do == "add":
            self._add(informer, next(each for each in self.scenario.handlers if each.name == action.handler))
        else:
            self.handles.pop(action.handler).remove()
            self._end(action.handler)
        if action.gate:
            gates = self.server.plays[self.scenario.name].gates
            gates.setdefault(action.gate, asyncio.Event()).set()

    def _end(self, handler: str) -> None:
        self.waiting.discard(handler)
        if not self.waiting:
            self.over.set()

    def _outcome(self, informer: Informer, problem: str) -> Outcome:
        store = informer.store
        kept = [obj for obj in store.list() if obj["metadata"]["name"] != LAST]
        index = {
            value: tuple(sorted(key(obj) for obj in store.by_index(TEAM, value))) for value in store.index_values(TEAM)
        }
        data = {
            "store": sorted((key(obj), resource_version(obj), uid(obj)) for obj in kept),
            "index": index,
            "version": store.resource_version,
            "log": self.log,
            "problem": problem,
        }
        return Outcome.of(data, self.server.plays[self.scenario.name].requests, by_key=self.scenario.watch_list)


def line(event: Event) -> Line:
    """A notification as the oracle compares it."""
    obj = event.object
    head = (event.key, resource_version(obj), uid(obj))
    match event.change:
        case Change.ADDED:
            return ("added", *head, event.initial)
        case Change.UPDATED:
            old: dict[str, Any] = event.old or {}
            return ("updated", *head, resource_version(old), uid(old))
        case _:
            return ("deleted", *head, event.final_state_unknown)


def _teams(obj: Object) -> Iterable[str]:
    team = labels(obj).get("team")
    return (team,) if team else ()
