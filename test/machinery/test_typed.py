"""Typed views: made once per version, none of what does not fit; and the reports of that."""

from __future__ import annotations

from random import Random

from attrs import frozen

from kaito_controller.kube.core import EVENTS, NODES
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.shapes import NodeShape
from kaito_controller.machinery.cache.typed import Typed
from kaito_controller.machinery.cache.unfit import UnfitObjects
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.events.recorder import EventRecorder
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.fake.server import FakeServer
from kaito_controller.testing.fake.transport import FakeTransport
from kaito_controller.testing.transport import obj


def node(version: str, name: str = "n", **status: object) -> Object:
    return obj(NODES, name, version, namespace="", status=status)


def counted(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("informer_unfit_objects_total", {"name": "Node"}) or 0


def test_a_view_is_made_once_per_version() -> None:
    """The same version gives the very same value; the next version another; the longest unused goes first."""
    typed = Typed(NodeShape, "the test", UnfitObjects(), kept=2)
    first = typed.value(node("1", capacity={"cpu": "1"}))
    assert first is not None
    assert first.status.capacity == {"cpu": "1"}
    assert typed.value(node("1", capacity={"cpu": "1"})) is first
    assert typed.value(node("2", capacity={"cpu": "1"})) is not first
    kept = typed.value(node("1", name="a"))
    typed.value(node("1", name="b"))
    assert typed.value(node("1", name="a")) is kept
    typed.value(node("1", name="c"))
    assert typed.value(node("1", name="a")) is kept, "used last, so it was kept"


def test_without_uid_or_version_nothing_is_remembered() -> None:
    """Two objects that are nobody's are not taken for one another, and odd metadata does not raise."""
    typed = Typed(NodeShape, "the test", UnfitObjects())
    one, other = typed.value({"status": {"capacity": {"a": "1"}}}), typed.value({"status": {"capacity": {"a": "2"}}})
    assert one != other
    assert "metadata" in typed.read({"metadata": "text"}).fault


def test_unknown_fields_and_nulls_fit() -> None:
    """What a newer API adds is ignored; an explicit null is an absent field."""
    view = Typed(NodeShape, "the test", UnfitObjects()).read({**node("1", novelty=[1]), "spec": None, "other": {}})
    assert (view.fault, view.value is not None) == ("", True)


@virtual_time
async def test_a_fault_is_reported_once(clock: VirtualClock) -> None:
    """One event and one count per object and fault, whoever reads it how often; heartbeats change nothing."""
    server, metrics = FakeServer(clock), Metrics()
    recorder = EventRecorder(
        client=Client(FakeTransport(server)),
        clock=clock,
        rng=Random(1),
        metrics=metrics,
        controller="test",
        instance="test-0",
    )
    unfit = UnfitObjects(metrics, recorder)
    typed, other = Typed(NodeShape, "the test", unfit), Typed(NodeShape, "another reader", unfit)
    for version in range(1, 50):
        for reader in (typed, other):
            assert reader.value(node(str(version), conditions="Ready")) is None
    assert counted(metrics) == 1
    typed.read(node("50", conditions=[3]))
    assert counted(metrics) == 2, "another fault"
    typed.read(node("51", name="m", conditions=[3]))
    assert counted(metrics) == 3, "another object"
    await recorder.flush()
    notes = [event["note"] for event in server.objects(EVENTS) if event["regarding"]["name"] == "n"]
    assert len(notes) == 2
    assert notes[0] == (
        "status.conditions: must be a list; found 'Ready'. The test passes it over until it is corrected;"
        " all else goes on."
    )


def test_a_new_generation_is_reported_anew() -> None:
    """For kinds that count it, the generation decides: as often as somebody writes the spec, and no more."""
    metrics = Metrics()

    @frozen(kw_only=True)
    class Spec:
        spec: int = 0

    typed = Typed(Spec, "the test", UnfitObjects(metrics), tells=False)
    for version, generation in enumerate((1, 1, 2, 2, 2, 3), 1):
        item = {**node(str(version)), "spec": f"text {version}"}
        item["metadata"]["generation"] = generation
        assert typed.read(item).value is None
    assert counted(metrics) == 3
