"""Resync beside the reflector: it goes by its own time, whatever the watch does, and ends with it."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.machinery.cache.event import Event
from kaito_controller.machinery.cache.informer import Informer
from kaito_controller.machinery.client.client import Client
from kaito_controller.testing.clock import VirtualClock, cancelled, virtual_time
from kaito_controller.testing.transport import (
    ScriptedTransport,
    Stream,
    error,
    event,
    initial_events_end,
    listing,
    obj,
    refused,
)


@pytest.mark.scenario("RF20")
@virtual_time
async def test_a_resync_asks_the_server_nothing_and_ends_with_the_reflector(clock: VirtualClock) -> None:
    """TestReflectorResync, TestReflectorResyncChan: every period from the first list on, from memory, until cancelled.

    It goes on while the server is away or busy, and a handler that fails on it ends neither the watch nor the resync.
    """
    away = [Stream([35.0, error(410, "Expired")]), *[refused()] * 3]
    answers = [listing(CONFIG_MAPS, "10", obj(CONFIG_MAPS, "a", "1"))] * 2
    transport = ScriptedTransport(clock, answers, away)
    informer = Informer(CONFIG_MAPS, Client(transport), clock, rng=Random(1), resync_s=10)
    told: list[float] = []

    def brittle(event: Event) -> None:
        if event.is_resync:
            told.append(clock.monotonic())
            raise RuntimeError("cannot")

    informer.add_handler(brittle)
    task = asyncio.create_task(informer.run())
    await clock.sleep(65)
    assert told == [10, 20, 30, 40, 50, 60]
    assert (len(transport.lists), len(transport.watches)) == (2, 5)
    await cancelled(task)
    await clock.sleep(100)
    assert len(told) == 6


@pytest.mark.scenario("RF20", "WL3")
@virtual_time
async def test_nothing_is_resynced_before_everything_has_come(clock: VirtualClock) -> None:
    """Half of a stream of everything is told to nobody, by no way."""
    steps = [event("ADDED", obj(CONFIG_MAPS, "a", "1")), 25.0, initial_events_end(CONFIG_MAPS, "5")]
    transport = ScriptedTransport(clock, [], [Stream(steps, stays=True)], streams_lists=True)
    informer = Informer(CONFIG_MAPS, Client(transport), clock, rng=Random(1), resync_s=10)
    told: list[float] = []
    informer.add_handler(lambda _: told.append(clock.monotonic()))
    task = asyncio.create_task(informer.run())
    await clock.sleep(24)
    assert (told, informer.has_synced) == ([], False)
    await clock.sleep(25)
    assert told == [25, 35, 45]
    await cancelled(task)
