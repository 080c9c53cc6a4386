"""The event recorder: what `kubectl describe` shows, without blocking, failing or flooding."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from kaito_controller.kube.core import CONFIG_MAPS, NODES
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.errors import ApiConnectionError, ApiError
from kaito_controller.machinery.events.correlator import BURST, REFILL_S, Correlator, Happening, Series
from kaito_controller.machinery.events.recorder import QUEUE_LIMIT, EventRecorder
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


@pytest.mark.scenario("EV6")
@virtual_time
async def test_an_event_is_written_as_the_api_wants_it(clock: VirtualClock) -> None:
    """Regarding, reporter within 128 characters, action never empty; cluster-scoped objects go to `default`."""
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


def series_of(call: Call) -> int | None:
    return (call.body or {}).get("series", {}).get("count")


@pytest.mark.scenario("EV6")
@virtual_time
async def test_texts_are_cut_to_bytes_as_the_server_counts(clock: VirtualClock) -> None:
    """1024 bytes of note and 128 of action, never within a character."""
    it = Recording(clock, created)
    it.recorder.event(REGARDING, "Normal", "Long", "ä€" * 600, action="é" * 100)
    await clock.sleep(1)
    body = it.transport.calls[0].body or {}
    assert body["note"] == ("ä€" * 600).encode()[:1024].decode(errors="ignore")
    assert (len(body["note"].encode()), body["action"]) == (1022, "é" * 64)
    await cancelled(it.task)


@pytest.mark.scenario("EV6")
@virtual_time
async def test_an_odd_object_costs_an_event_and_nothing_else(clock: VirtualClock) -> None:
    """Recording raises nothing, whatever it is given."""
    it = Recording(clock, created)
    it.recorder.event(None, "Normal", "A", "x")
    it.recorder.event(REGARDING, "Normal", "B", None)
    it.recorder.event(REGARDING, "Normal", "C", "x")
    await clock.sleep(1)
    assert (it.count("refused"), it.count("sent")) == (2, 1)
    await cancelled(it.task)


@pytest.mark.scenario("EV5")
@virtual_time
async def test_repeats_become_a_series(clock: VirtualClock) -> None:
    """The second patches count 2 on the first one's name, later ones only count; every half hour it is written."""
    it = Recording(clock, *[created] * 4)
    for _ in range(8):
        it.recorder.event(REGARDING, "Normal", "Waiting", "for the node")
        await clock.sleep(300)
    calls = [(call.at, call.method, series_of(call)) for call in it.transport.calls]
    assert calls == [(0, "POST", None), (300, "PATCH", 2), (1800, "PATCH", 7)]
    name = it.transport.calls[0].body["metadata"]["name"]
    assert it.transport.calls[2].path == f"/apis/events.k8s.io/v1/namespaces/ns/events/{name}"
    assert it.transport.calls[2].body["series"]["lastObservedTime"] == "2026-01-01T00:30:00.000000Z"
    await cancelled(it.task)


@pytest.mark.scenario("EV5")
@virtual_time
async def test_what_happened_twice_before_it_was_sent_is_one_write(clock: VirtualClock) -> None:
    """The event says its count from the start, and there is nothing left to patch."""
    it = Recording(clock, created, created)
    for _ in range(3):
        it.recorder.event(REGARDING, "Normal", "Waiting", "for the node")
    await clock.sleep(1)
    assert [(call.method, series_of(call)) for call in it.transport.calls] == [("POST", 3)]
    assert (it.count("sent"), it.count("counted")) == (1, 2)
    await cancelled(it.task)


@pytest.mark.scenario("EV5")
@virtual_time
async def test_what_makes_an_event_another_one(clock: VirtualClock) -> None:
    """Type, action, reason, regarding, related and, better than upstream, the note; the object's version does not."""
    it = Recording(clock, *[created] * 20)
    base = {"regarding": REGARDING, "type_": "Normal", "reason": "R", "note": "n", "action": "A", "related": None}
    other = obj(CONFIG_MAPS, "b", "1", namespace="ns")
    changes = [
        {"type_": "Warning"},
        {"reason": "S"},
        {"note": "m"},
        {"action": "B"},
        {"related": other},
        {"regarding": other},
    ]
    for change in [{}, *changes]:
        it.recorder.event(**{**base, **change})
    await clock.sleep(1)
    assert [call.method for call in it.transport.calls] == ["POST"] * 7
    assert it.transport.calls[5].body["related"]["name"] == "b"
    it.recorder.event(**{**base, "regarding": obj(CONFIG_MAPS, "a", "8", namespace="ns")})
    await clock.sleep(1)
    assert [call.method for call in it.transport.calls[7:]] == ["PATCH"]
    await cancelled(it.task)


@pytest.mark.scenario("EV5")
@virtual_time
async def test_a_finished_series_is_written_and_forgotten(clock: VirtualClock) -> None:
    """Six minutes without one: at the next look its last count is written; then a new one begins."""
    it = Recording(clock, *[created] * 5)
    for _ in range(5):
        it.recorder.event(REGARDING, "Normal", "Waiting", "x")
        await clock.sleep(1)
    it.recorder.event(REGARDING, "Normal", "Once", "x")
    await clock.sleep(1000)
    calls = [(call.method, series_of(call), call.at) for call in it.transport.calls]
    assert calls == [("POST", None, 0), ("PATCH", 2, 1), ("POST", None, 5), ("PATCH", 5, 720)]
    it.recorder.event(REGARDING, "Normal", "Waiting", "x")
    await clock.sleep(1)
    assert it.transport.calls[-1].method == "POST"
    await cancelled(it.task)


@pytest.mark.scenario("EV5")
@virtual_time
async def test_a_series_that_paused_starts_anew_before_it_is_tended(clock: VirtualClock) -> None:
    """Six minutes end it also between two looks; what was not written of it is."""
    it = Recording(clock, *[created] * 5)
    for pause_s in (1, 1, 400, 1):
        it.recorder.event(REGARDING, "Normal", "Waiting", "x")
        await clock.sleep(pause_s)
    assert [(call.method, series_of(call)) for call in it.transport.calls] == [
        ("POST", None),
        ("PATCH", 2),
        ("POST", None),
        ("PATCH", 3),
    ]
    names = [call.path.rpartition("/")[2] for call in it.transport.calls if call.method == "PATCH"]
    assert names[0] == names[1] == it.transport.calls[0].body["metadata"]["name"]
    await cancelled(it.task)


@pytest.mark.scenario("EV2", "EV5")
@virtual_time
async def test_a_series_whose_event_is_gone_is_created_anew(clock: VirtualClock) -> None:
    """404 on the patch: POST of the whole event under its name, with the count; 409 on that: patched after a pause."""
    missing, there = ApiError(404, "NotFound"), ApiError(409, "AlreadyExists")
    it = Recording(clock, created, missing, created, created, missing, there, created)
    it.recorder.event(REGARDING, "Normal", "Waiting", "x")
    await clock.sleep(1)
    it.recorder.event(REGARDING, "Normal", "Waiting", "x")
    await clock.sleep(1)
    first, _, again = it.transport.calls
    assert again.method == "POST"
    assert again.body == {**(first.body or {}), "series": again.body["series"]}
    assert series_of(again) == 2
    it.recorder.event(REGARDING, "Normal", "Waiting", "y")
    await clock.sleep(1)
    it.recorder.event(REGARDING, "Normal", "Waiting", "y")
    await clock.sleep(11)
    assert [call.method for call in it.transport.calls[4:]] == ["PATCH", "POST", "PATCH"]
    assert it.count("refused") is None
    await cancelled(it.task)


@pytest.mark.scenario("EV1")
@virtual_time
async def test_the_tenth_different_note_is_combined_with_those_to_come(clock: VirtualClock) -> None:
    """Nine are events of their own, further ones one series; known notes keep theirs; ten quiet minutes end it."""
    it = Recording(clock, *[created] * 40)
    for number in range(14):
        it.recorder.event(REGARDING, "Normal", "Changing", f"note {number}")
        await clock.sleep(30)
    notes = [call.body["note"] for call in it.transport.calls if call.method == "POST"]
    assert notes == [*[f"note {number}" for number in range(9)], "(combined from similar events): note 9"]
    assert [series_of(call) for call in it.transport.calls if call.method == "PATCH"] == [2]
    it.recorder.event(REGARDING, "Normal", "Changing", "note 8")
    it.recorder.event(REGARDING, "Normal", "Other", "note 10")
    await clock.sleep(1)
    calls = it.transport.calls[-2:]
    assert (calls[0].method, series_of(calls[0]), calls[1].body["note"]) == ("PATCH", 2, "note 10")
    await clock.sleep(601)
    it.recorder.event(REGARDING, "Normal", "Changing", "note 99")
    await clock.sleep(1)
    assert it.transport.calls[-1].body["note"] == "note 99"
    await cancelled(it.task)


@pytest.mark.scenario("EV3")
@virtual_time
async def test_one_object_cannot_flood(clock: VirtualClock) -> None:
    """25 writes at once, then one in five minutes, per object and type; others are not held back."""
    it = Recording(clock, *[created] * 100)
    for number in range(60):
        it.recorder.event(REGARDING, "Normal", f"Reason{number}", "x")
    it.recorder.event(obj(CONFIG_MAPS, "b", "8"), "Normal", "Fine", "x")
    it.recorder.event(REGARDING, "Warning", "Bad", "x")
    await clock.sleep(REFILL_S + 1)
    assert (it.count("sent"), it.count("spam")) == (BURST + 2, 60 - BURST)
    it.recorder.event(REGARDING, "Normal", "Later", "x")
    it.recorder.event(REGARDING, "Normal", "TooMuch", "x")
    await clock.sleep(1)
    assert (it.count("sent"), it.count("spam")) == (BURST + 3, 60 - BURST + 1)
    await cancelled(it.task)


@pytest.mark.scenario("EV4")
@virtual_time
async def test_an_unreachable_server_delays_and_a_refusal_drops(clock: VirtualClock) -> None:
    """12 tries, 10 s apart, for a connection that fails; a Status is not retried; the next event comes through."""
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


@pytest.mark.scenario("EV4")
@virtual_time
async def test_after_twelve_tries_an_event_is_dropped(clock: VirtualClock) -> None:
    """110 s at most; the one behind it has its own twelve."""
    it = Recording(clock, *[ApiConnectionError("refused")] * 12, created)
    it.recorder.event(REGARDING, "Normal", "A", "x")
    it.recorder.event(REGARDING, "Normal", "B", "x")
    await clock.sleep(110)
    assert (len(it.transport.calls), it.count("dropped"), it.count("sent")) == (13, 1, 1)
    await cancelled(it.task)


@pytest.mark.scenario("EV4")
@virtual_time
async def test_a_try_whose_answer_was_lost_is_no_failure(clock: VirtualClock) -> None:
    """The second try finds the event there: it is ours, since its name is."""
    it = Recording(clock, ApiConnectionError("lost"), ApiError(409, "AlreadyExists"), created)
    it.recorder.event(REGARDING, "Normal", "A", "x")
    await clock.sleep(11)
    it.recorder.event(REGARDING, "Normal", "A", "x")
    await clock.sleep(1)
    assert [call.method for call in it.transport.calls] == ["POST", "POST", "PATCH"]
    assert (it.count("sent"), it.count("refused")) == (2, None)
    await cancelled(it.task)


@pytest.mark.scenario("EV7")
@virtual_time
async def test_closing_sends_what_waits_and_the_last_counts(clock: VirtualClock) -> None:
    """Also what the sender was at when it was cancelled; afterwards nothing is taken any more."""
    it = Recording(clock, created, created)
    for _ in range(6):
        it.recorder.event(REGARDING, "Normal", "Waiting", "x")
        await clock.sleep(1)
    it.transport.answers.extend([ApiConnectionError("refused"), created, created, created])
    it.recorder.event(REGARDING, "Normal", "Stopping", "x")
    await clock.sleep(1)
    it.recorder.event(REGARDING, "Normal", "Stopped", "x")
    await cancelled(it.task)
    await it.recorder.close()
    calls = [(call.method, (call.body or {}).get("reason"), series_of(call)) for call in it.transport.calls[2:]]
    assert calls == [
        ("POST", "Stopping", None),
        ("POST", "Stopping", None),
        ("POST", "Stopped", None),
        ("PATCH", None, 6),
    ]
    it.recorder.event(REGARDING, "Normal", "TooLate", "x")
    assert it.count("dropped") == 1


@pytest.mark.scenario("EV7")
def test_memories_are_bounded() -> None:
    """However many objects there are: the least recently used are forgotten, and what they counted is written."""
    correlator = Correlator(limit=10)
    over = []
    for number in range(50):
        happening = Happening(regarding=(f"{number}",), type="Normal", reason="R", action="A", note="n")
        assert correlator.combined(happening, 0) is None
        assert correlator.again(happening, 0, "t") is None
        assert correlator.may_write(happening, 0)
        over += correlator.begin(Series(happening=happening, event={}, last_at=0, last_time="t", is_created=True))
        assert correlator.again(happening, 0, "t") is not None
    assert [series.happening.regarding for series in over] == [(f"{number}",) for number in range(40)]
    assert len(list(correlator.running())) == 10


@pytest.mark.scenario("EV4", "EV6")
@virtual_time
async def test_recording_never_blocks_and_drops_when_full(clock: VirtualClock) -> None:
    """The queue holds a thousand; a call takes no time, whatever the server does."""
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
