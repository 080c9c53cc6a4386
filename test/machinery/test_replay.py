"""Replaying notifications: whoever applies all it is told to an empty dict holds what the store holds, at any time."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, key, labels, resource_version, uid
from kaito_controller.machinery.cache.event import Change, Event
from kaito_controller.machinery.cache.handlers import filtered
from kaito_controller.machinery.cache.informer import Informer
from kaito_controller.machinery.cache.registration import Registration
from kaito_controller.machinery.client.client import Client
from kaito_controller.testing.clock import VirtualClock, cancelled, run
from kaito_controller.testing.transport import ScriptedTransport, Stream, event, listing, obj

NAMES = st.sampled_from("abcd")


def cm(name: str, version: int, *, red: bool, born: int = 0) -> Object:
    made = obj(CONFIG_MAPS, name, str(version))
    made["metadata"] |= {"labels": {"colour": "red" if red else "blue"}, "uid": f"{name}-{born}"}
    return made


def is_red(item: Object) -> bool:
    return labels(item).get("colour") == "red"


class Replay:
    """Somebody who knows only what it is told, and checks that each notification fits what it knows."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.order: list[tuple[str, str]] = []

    def __call__(self, event: Event) -> None:
        known = self.objects.get(event.key)
        self.order.append((event.key, resource_version(event.object)))
        match event.change:
            case Change.ADDED:
                assert known is None
                self.objects[event.key] = event.object
            case Change.UPDATED:
                assert event.old == known
                assert event.object != event.old, "the same version is nobody's news"
                self.objects[event.key] = event.object
            case _:
                assert known is not None
                assert not event.final_state_unknown or event.object == known
                del self.objects[event.key]


class ReplayMachine(RuleBasedStateMachine):
    """An informer fed in the reflector's place, with handlers that come and go at any time."""

    def __init__(self) -> None:
        super().__init__()
        clock = VirtualClock()
        self.informer = Informer(CONFIG_MAPS, Client(ScriptedTransport(clock)), clock)
        self.version = 0
        self.server: dict[str, Object] = {}
        self.all: list[tuple[Registration, Replay]] = []
        self.red: list[Replay] = []
        self.gone: list[tuple[Replay, dict[str, Object]]] = []

    def next(self) -> int:
        """The next version of the server."""
        self.version += 1
        return self.version

    def change(self, name: str, *, red: bool) -> Object:
        """What the server has of an object after a change."""
        known = self.server.get(f"default/{name}")
        born = int(uid(known).split("-")[1]) if known is not None else self.version
        item = cm(name, self.next(), red=red, born=born)
        self.server[key(item)] = item
        return item

    @rule(name=NAMES, red=st.booleans(), doubled=st.booleans())
    def changed(self, name: str, red: bool, doubled: bool) -> None:
        """A watch event, which a server may send twice."""
        item = self.change(name, red=red)
        self.informer.changed(item)
        if doubled:
            self.informer.changed(dict(item))

    @rule(name=NAMES)
    def deleted(self, name: str) -> None:
        """A deletion, of what is there or of what is not."""
        item = self.server.pop(f"default/{name}", None) or cm(name, 1, red=False)
        item = {**item, "metadata": item["metadata"] | {"resourceVersion": str(self.next())}}
        self.informer.deleted(item)

    @rule(unseen=st.lists(st.tuples(NAMES, st.sampled_from(["red", "blue", "delete", "again"])), max_size=6))
    def listed(self, unseen: list[tuple[str, str]]) -> None:
        """Changes that no watch brought, then a list of all there is."""
        for name, what in unseen:
            if what in {"delete", "again"}:
                self.server.pop(f"default/{name}", None)
            if what != "delete":
                self.change(name, red=what == "red")
        self.informer.replace([dict(item) for item in self.server.values()], str(self.next()))

    @rule()
    def come(self) -> None:
        """A late handler."""
        replay = Replay()
        self.all.append((self.informer.add_handler(replay), replay))

    @rule()
    def come_filtered(self) -> None:
        """A late handler that sees only what is red."""
        replay = Replay()
        self.informer.add_handler(filtered(is_red, replay))
        self.red.append(replay)

    @precondition(lambda self: self.all)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        """A handler is removed; it hears nothing more."""
        registration, replay = self.all.pop(data.draw(st.integers(0, len(self.all) - 1)))
        registration.remove()
        self.gone.append((replay, dict(replay.objects)))

    @invariant()
    def everybody_holds_what_the_server_has(self) -> None:
        """The store, every replay, and of the filtered ones the red part; those that left hold what they held."""
        held = {found: self.informer.store.get(found) for found in self.informer.store.keys()}  # noqa: SIM118
        assert held == self.server
        for _, replay in self.all:
            assert replay.objects == self.server
        for replay in self.red:
            assert replay.objects == {found: item for found, item in self.server.items() if is_red(item)}
        for replay, then in self.gone:
            assert replay.objects == then


ReplayMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestReplay = pytest.mark.scenario("FQ1", "FQ2", "FQ3", "SI2", "SI4", "SI8", "SI10", "SI12")(ReplayMachine.TestCase)

STEPS = st.lists(st.tuples(NAMES, st.sampled_from(["put", "delete"]), st.floats(0, 3)), max_size=30)


@pytest.mark.scenario("SI6", "SI13")
@settings(max_examples=60, deadline=None)
@given(steps=STEPS, slow_s=st.floats(0, 5), late_at=st.floats(0, 30))
def test_a_slow_handler_sees_the_same_sequence_later(
    steps: list[tuple[str, str, float]], slow_s: float, late_at: float
) -> None:
    """Inline, slow and late: per key each sees a subsequence of the server's states in order, and all end as it is."""

    async def scenario(clock: VirtualClock) -> None:
        history: dict[str, list[str]] = {}
        script: list[bytes | float | Exception] = []
        server: dict[str, Object] = {}
        for number, (name, what, pause) in enumerate(steps, 20):
            item = cm(name, number, red=True)
            kind = "DELETED" if what == "delete" else "MODIFIED" if name in server else "ADDED"
            if what == "delete":
                if server.pop(name, None) is None:
                    continue
            else:
                server[name] = item
            history.setdefault(key(item), []).append(str(number))
            script += [pause, event(kind, item)]
        transport = ScriptedTransport(clock, [listing(CONFIG_MAPS, "10")], [Stream(script, stays=True)])
        informer = Informer(CONFIG_MAPS, Client(transport), clock, rng=Random(1))
        quick, slow, late = Replay(), Replay(), Replay()

        async def dawdle(replay: Replay, event: Event) -> None:
            await clock.sleep(slow_s)
            replay(event)

        async def dawdle_slow(event: Event) -> None:
            await dawdle(slow, event)

        async def dawdle_late(event: Event) -> None:
            await dawdle(late, event)

        informer.add_handler(quick)
        informer.add_handler(dawdle_slow)
        task = asyncio.create_task(informer.run())
        await clock.sleep(late_at)
        registration = informer.add_handler(dawdle_late)
        await clock.sleep(100 + 31 * (3 + slow_s))
        assert registration.has_synced
        assert slow.order == quick.order
        for replay in (quick, slow, late):
            assert replay.objects == {key(item): item for item in server.values()}
            for found, states in history.items():
                seen = [version for told, version in replay.order if told == found]
                assert _is_subsequence(seen, states)
        await cancelled(task)

    run(scenario)


def _is_subsequence(part: list[str], whole: list[str]) -> bool:
    rest: Any = iter(whole)
    return all(one in rest for one in part)
