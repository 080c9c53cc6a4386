"""What every controller of the operator has in common."""

from __future__ import annotations

from random import Random

import pytest

from kaito_controller.app.controllers import CONTROLLERS, Parts
from kaito_controller.app.options import Options
from kaito_controller.catalog import loader
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.controller.controller import Controller, Request
from kaito_controller.machinery.events.recorder import EventRecorder
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.providers.kwok.provider import KwokProvider
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.transport import ScriptedTransport


@pytest.mark.parametrize("name", list(CONTROLLERS))
@virtual_time
async def test_what_failed_often_is_still_tried_every_minute(clock: VirtualClock, name: str) -> None:
    """After an outage, or once somebody's object is out of the way, no object waits longer than a minute."""
    client, metrics, catalog = Client(ScriptedTransport(clock)), Metrics(), loader.load()
    recorder = EventRecorder(
        client=client, clock=clock, rng=Random(0), metrics=metrics, controller="test", instance="test"
    )
    parts = Parts(
        options=Options(),
        client=client,
        cache=Cache(client, clock),
        clock=clock,
        metrics=metrics,
        recorder=recorder,
        catalog=catalog,
        provider=KwokProvider(client, clock, catalog),
    )
    built = [part for part in CONTROLLERS[name].build(parts) if isinstance(part, Controller)]
    assert built
    for controller in built:
        pauses = [controller.queue.backoff.next_s(Request("models", "demo")) for _ in range(40)]
        assert 60.0 == max(pauses)
