"""The event recorder: what `kubectl describe` shows, without blocking, failing or flooding."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from kaito_controller.kube.core import CONFIG_MAPS, NODES
from kaito_controller.machinery.client import Client
from kaito_controller.machinery.errors import ApiConnectionError, ApiError
from kaito_controller.machinery.events import BURST, QUEUE_LIMIT, REFILL_S, EventRecorder
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.testing.clock import VirtualClock, cancelled, virtual_time
from kaito_controller.testing.transport import Call, ScriptedTransport, obj

REGARDING = obj(CONFIG_MAPS, "a", "7", namespace="ns")


def created(call: Call):
    return dict(call.body or {})


class Recording:
    """A recorder over a script, and what it sent."""

    def __init__(self, clock: VirtualClock, *answers) -> None:
        self.transport = ScriptedTransport(clock, answers)
        self.metrics = Metrics()
        self.recorder = EventRecorder(
            client=Client(self.transport),
            clock=clock,
            rng=Random(1),
            metrics=self.metrics,
            controller="kaito-controller",
            instance="kaito-controller-" + "h" * 200,
        )
        self.task = asyncio.create_task(self.recorder.run())

    def count(self, outcome: str) -> float | None:
        return self.metrics.registry.get_sample_value("event_recorder_events_total", {"outcome": outcome})


@virtual_time
async def test_an_event_is_written_as_the_api_wants_it(clock: VirtualClock) -> None:
    """EV6: regarding, reporter within 128 characters, action never empty; cluster-scoped objects go to `default`."""
    it = Recording(clock, created, created)
    it.recorder.event(REGARDING, "Warning", "NoRoom", "needs 80Gi", action="Plan")
    it.recorder.event(obj(NODES, "n", "9"), "Normal", "Ready", "is ready")
    await clock.sleep(1)
    first, second = [call.body for call in it.transport.calls]
    assert first is not None
    assert second is not None
    assert it.transport.calls[0].path == "/apis/events.k8s.io/v1/namespaces/ns/events"
    assert (first["type"], first["reason"], first["note"], first["action"]) == (
        "Warning",
        "NoRoom",
        "needs 80Gi",
        "Plan",
    )
    assert first["regarding"] == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "namespace": "ns",
        "name": "a",
        "uid": "uid-ns-a",
        "resourceVersion": "7",
    }
    assert first["eventTime"] == "2026-01-01T00:00:00.000000Z"
    assert len(first["reportingInstance"]) == 128
    assert (second["metadata"]["namespace"], second["action"]) == ("default", "Ready")
    await cancelled(it.task)


@virtual_time
async def test_repeats_become_a_series(clock: VirtualClock) -> None:
    """EV5: the second patches count 2, later ones only count, until half an hour has passed."""
    it = Recording(clock, created, created, created)
    for _ in range(8):
        it.recorder.event(REGARDING, "Normal", "Waiting", "for the node")
        await clock.sleep(300)
    calls = [(call.method, (call.body or {}).get("series", {}).get("count")) for call in it.transport.calls]
    assert calls == [("POST", None), ("PATCH", 2)]
    it.recorder.event(REGARDING, "Normal", "Waiting", "for the node")
    await clock.sleep(1)
    assert it.transport.calls[-1].body["series"]["count"] == 9
    await cancelled(it.task)


@virtual_time
async def test_a_series_that_paused_or_whose_object_is_gone_starts_anew(clock: VirtualClock) -> None:
    """EV5: six minutes without one end it; 404 on the patch creates a new one (EV2)."""
    it = Recording(clock, created, created, ApiError(404, "NotFound"), created)
    it.recorder.event(REGARDING, "Normal", "Waiting", "x")
    await clock.sleep(400)
    it.recorder.event(REGARDING, "Normal", "Waiting", "x")
    await clock.sleep(1)
    it.recorder.event(REGARDING, "Normal", "Waiting", "x")
    await clock.sleep(1)
    assert [call.method for call in it.transport.calls] == ["POST", "POST", "PATCH", "POST"]
    await cancelled(it.task)


@virtual_time
async def test_one_object_cannot_flood(clock: VirtualClock) -> None:
    """EV3: 25 at once, then one in five minutes; other objects are not held back."""
    it = Recording(clock, *[created] * 100)
    for number in range(60):
        it.recorder.event(REGARDING, "Normal", "Changing", f"note {number}")
    it.recorder.event(obj(CONFIG_MAPS, "b", "8"), "Normal", "Fine", "x")
    await clock.sleep(REFILL_S + 1)
    it.recorder.event(REGARDING, "Normal", "Changing", "later")
    it.recorder.event(REGARDING, "Normal", "Changing", "too much")
    await clock.sleep(1)
    assert it.count("sent") == BURST + 2
    assert it.count("spam") == 60 - BURST + 1
    await cancelled(it.task)


@virtual_time
async def test_an_unreachable_server_delays_and_a_refusal_drops(clock: VirtualClock) -> None:
    """EV4: 12 tries, 10 s apart, for a connection that fails; a Status is not retried; the next event comes through."""
    outage = [ApiConnectionError("refused")] * 3
    it = Recording(clock, *outage, created, ApiError(403, "Forbidden"), created)
    it.recorder.event(REGARDING, "Normal", "A", "x")
    await clock.sleep(31)
    it.recorder.event(REGARDING, "Normal", "B", "x")
    it.recorder.event(REGARDING, "Normal", "C", "x")
    await clock.sleep(1)
    assert (it.count("sent"), it.count("refused")) == (2, 1)
    starts = [call.at for call in it.transport.calls[:4]]
    assert starts[1] < 10
    assert starts[3] - starts[1] == pytest.approx(20)
    await cancelled(it.task)


@virtual_time
async def test_recording_never_blocks_and_drops_when_full(clock: VirtualClock) -> None:
    """EV4, EV6: the queue holds a thousand; a call takes no time, whatever the server does."""
    it = Recording(clock, *[ApiConnectionError("refused")] * 20)
    for number in range(QUEUE_LIMIT + 5):
        it.recorder.event(obj(CONFIG_MAPS, f"c{number}", "1"), "Normal", "A", "x")
    assert clock.monotonic() == 0
    assert it.count("dropped") == 5
    await cancelled(it.task)


@virtual_time
async def test_events_of_one_instant_are_listed_in_the_order_of_recording(clock: VirtualClock) -> None:
    """Names sort by time, also within one tick of the clock, as kubectl describe shows events by name."""
    it = Recording(clock, *[created] * 20)
    for number in range(20):
        it.recorder.event(REGARDING, "Normal", f"Step{number}", "done")
        if number % 3 == 0:
            await clock.sleep(0.5)
    await clock.sleep(1)
    names = [(call.body or {})["metadata"]["name"] for call in it.transport.calls]
    assert names == sorted(set(names))
    await cancelled(it.task)
