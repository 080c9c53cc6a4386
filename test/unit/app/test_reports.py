"""What pods report, read in virtual time: who is asked when, who is woken, and what a bad answer comes to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from inference_server import contract
from kaito_controller.app.reports import LOST_S, PodReports
from kaito_controller.controllers.workspace.reports import Target
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.errors import ApiConnectionError, ApiError
from kaito_controller.machinery.reconcile.request import Request
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.transport import ScriptedTransport, Stream

WHO = Request("default", "phi")
POD = Target(namespace="default", name="phi-0", uid="p1", port=contract.AGENT_PORT)
LOADED = {"adapters": [{"name": "a", "state": "Loaded"}]}
LOADING = {"adapters": [{"name": "a", "state": "Loading"}]}


def answer(report: Any) -> Stream:
    raw = report if isinstance(report, bytes) else json.dumps(report).encode()
    return Stream(steps=[raw[:7], raw[7:]])


class World:
    """A poller with its transport, and who was woken when."""

    def __init__(self, clock: VirtualClock, *answers: Any) -> None:
        streams = [one if isinstance(one, Stream | Exception) else answer(one) for one in answers]
        self.transport = ScriptedTransport(clock, streams=streams)
        self.reports = PodReports(client=Client(self.transport), clock=clock)
        self.woken: list[tuple[float, Request]] = []
        self._clock = clock

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        feed = asyncio.create_task(self.reports.feed(lambda who: self.woken.append((self._clock.monotonic(), who))))
        run = asyncio.create_task(self.reports.run(stop))
        await asyncio.sleep(0)
        yield
        stop.set()
        await run
        feed.cancel()
        await asyncio.gather(feed, return_exceptions=True)

    @property
    def asked_at(self) -> list[float]:
        return [call.at for call in self.transport.calls]


@virtual_time
async def test_a_followed_pod_is_asked_at_once_then_every_period(clock: VirtualClock) -> None:
    """Through the API server's proxy; who follows is woken only when the answer is another than the last."""
    world = World(clock, LOADING, LOADING, LOADED, LOADED)
    async with world.running():
        world.reports.follow(WHO, [POD], 2.0)
        await clock.sleep(7)
        assert world.asked_at == [0.0, 2.0, 4.0, 6.0]
        assert {call.path for call in world.transport.calls} == {
            "/api/v1/namespaces/default/pods/phi-0:5001/proxy/report"
        }
        assert world.woken == [(0.0, WHO), (4.0, WHO)]
        assert world.reports.latest(WHO) == {"phi-0": LOADED}
        world.reports.follow(WHO, [POD], 30.0)
        world.transport.streams.extend([answer(LOADED)])
        await clock.sleep(3600)
    assert world.asked_at[4] == 8.0
    assert world.asked_at[5] == 38.0


@virtual_time
async def test_a_shorter_period_counts_at_once(clock: VirtualClock) -> None:
    """Something begins to move in the middle of a long pause."""
    world = World(clock, LOADED, LOADED)
    async with world.running():
        world.reports.follow(WHO, [POD], 30.0)
        await clock.sleep(10)
        world.reports.follow(WHO, [POD], 2.0)
        await clock.sleep(2.5)
        assert world.asked_at == [0.0, 12.0]


@virtual_time
async def test_another_pod_of_the_same_name_is_not_taken_for_the_one_before(clock: VirtualClock) -> None:
    world = World(clock, LOADED, Stream(stays=True))
    async with world.running():
        world.reports.follow(WHO, [POD], 2.0)
        await clock.sleep(1)
        again = Target(namespace="default", name="phi-0", uid="p2", port=contract.AGENT_PORT)
        world.reports.follow(WHO, [again], 2.0)
        await clock.sleep(1)
        assert world.reports.latest(WHO) == {}


@virtual_time
async def test_nobody_is_asked_for_who_was_forgotten(clock: VirtualClock) -> None:
    world = World(clock, LOADED)
    async with world.running():
        world.reports.follow(WHO, [POD], 2.0)
        await clock.sleep(1)
        world.reports.forget(WHO)
        await clock.sleep(600)
        assert world.asked_at == [0.0]
        assert world.reports.latest(WHO) == {}


@virtual_time
async def test_a_pod_that_does_not_answer_keeps_its_last_word_for_a_while(clock: VirtualClock) -> None:
    """Refused, silent, cut off, no JSON, no object, too long: each is no report, and none ends the poller."""
    bad = [
        ApiError(503, "ServiceUnavailable", "no endpoints"),
        ApiConnectionError("reset"),
        Stream(stays=True),
        Stream(steps=[b'{"adapters":', ApiConnectionError("cut")]),
        b"<html>",
        b"[" * 50_000,
        b"[1]",
        Stream(steps=[b" " * (contract.REPORT_MAX_BYTES + 1)], stays=True),
    ]
    world = World(clock, LOADED, *bad, *bad, LOADED)
    async with world.running():
        world.reports.follow(WHO, [POD], 2.0)
        await clock.sleep(LOST_S / 2)
        assert world.reports.latest(WHO) == {"phi-0": LOADED}
        await clock.sleep(LOST_S / 2 + 10)
        assert world.reports.latest(WHO) == {}
        await clock.sleep(30)
        assert world.reports.latest(WHO) == {"phi-0": LOADED}
        assert len(world.woken) == 3
        assert world.transport.open_streams <= 1


@virtual_time
async def test_many_pods_are_asked_side_by_side_but_not_all_at_once(clock: VirtualClock) -> None:
    """Pods that stay silent hold up others only as far as there are places."""
    world = World(clock, *[Stream(stays=True)] * 40)
    async with world.running():
        for number in range(40):
            target = Target(namespace="default", name=f"p-{number}", uid=str(number), port=1)
            world.reports.follow(Request("default", str(number)), [target], 600.0)
        await clock.sleep(1)
        assert world.transport.open_streams == 8
        await clock.sleep(40)
        assert len(world.asked_at) == 40


@virtual_time
async def test_pods_that_keep_silent_took_every_place_again_and_again(clock: VirtualClock) -> None:
    """Each silence takes a place for five seconds: who keeps it up is asked ever more seldom, until it answers."""
    world = World(clock, *[Stream(stays=True)] * 6, LOADED, LOADED)
    async with world.running():
        world.reports.follow(WHO, [POD], 2.0)
        await clock.sleep(50)
        world.reports.follow(WHO, [POD], 2.0)
        await clock.sleep(163)
        assert world.asked_at == [0.0, 9.0, 22.0, 43.0, 80.0, 145.0, 210.0, 212.0]


@virtual_time
async def test_what_is_put_off_or_forgotten_leaves_nothing_behind(clock: VirtualClock) -> None:
    """Ten thousand Workspaces are planned again and again; what waits for its time is one entry for each pod."""
    world = World(clock, *[LOADED] * 30)
    async with world.running():
        for _ in range(100):
            await clock.sleep(0.1)
            world.reports.follow(WHO, [POD], 2.0)
        assert len(world.reports._queue) <= 1
        world.reports.forget(WHO)
        await clock.sleep(3)
        assert not world.reports._queue
        assert len(world.asked_at) == 5


@virtual_time
async def test_an_operator_that_may_ask_no_pod_said_so_to_nobody(
    clock: VirtualClock, capfd: pytest.CaptureFixture[str]
) -> None:
    """After an upgrade without its RBAC every agent seems to be silent; the log says why, once."""
    world = World(clock, *[ApiError(403, "Forbidden", "cannot get resource pods/proxy")] * 3)
    async with world.running():
        world.reports.follow(WHO, [POD], 2.0)
        await clock.sleep(5)
    said = "".join(capfd.readouterr())
    assert said.count("apply config/rbac of this version") == 1
    assert "cannot get resource pods/proxy" in said
