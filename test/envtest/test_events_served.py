"""Events on a real API server: what it takes, and what becomes of a series whose event is gone."""

from __future__ import annotations

from random import Random

import pytest

from kaito_controller.kube.core import CONFIG_MAPS, EVENTS
from kaito_controller.kube.metadata import name as name_of
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.events.recorder import EventRecorder
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.apiserver import APIServer

pytestmark = pytest.mark.slow


@pytest.mark.scenario("EV2", "EV5", "EV6")
async def test_a_series_is_taken_from_the_start_and_anew_when_it_is_gone(apiserver: APIServer, namespace: str) -> None:
    """Two occurrences before the first write are one event with count 2; deleted, it comes back with the last count."""
    metrics = Metrics()
    async with AioTransport(kubeconfig=apiserver.kubeconfig) as transport:
        client = Client(transport)
        made = await client.create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": namespace}})
        recorder = EventRecorder(
            client=client, clock=RealClock(), rng=Random(1), metrics=metrics, controller="c", instance="c-1"
        )
        related = {**made, "apiVersion": "v1", "kind": "ConfigMap"}
        for _ in range(2):
            recorder.event(related, "Warning", "DoesNotFit", "needs 80Gi \u2026", action="Plan", related=related)
        await recorder.flush()
        found = (await client.list(EVENTS, namespace))[0]
        assert (found["series"]["count"], found["related"]["name"], found["note"]) == (2, "a", "needs 80Gi \u2026")
        await client.delete(EVENTS, name_of(found), namespace)
        recorder.event(related, "Warning", "DoesNotFit", "needs 80Gi \u2026", action="Plan", related=related)
        await recorder.close()
        again = (await client.list(EVENTS, namespace))[0]
        assert (name_of(again), again["series"]["count"]) == (name_of(found), 3)
    outcomes = {
        outcome: metrics.registry.get_sample_value("event_recorder_events_total", {"outcome": outcome})
        for outcome in ("sent", "refused", "counted")
    }
    assert outcomes == {"sent": 2, "refused": None, "counted": 2}
