"""Following metadata alone: what is asked for, and what becomes of it."""

from __future__ import annotations

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.reflector.collection import Collection
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.reflecting import reflecting
from kaito_controller.testing.transport import ScriptedTransport, Stream, error, event, obj

ONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


def partial(name: str, version: str, **annotations: str) -> Object:
    made = obj(CONFIG_MAPS, name, version) | {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata"}
    if annotations:
        made["metadata"]["annotations"] = {key.replace("_", "-"): value for key, value in annotations.items()}
    return made


def partial_list(version: str, *items: Object) -> Object:
    head = {"resourceVersion": version}
    return {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": head, "items": list(items)}


def bookmark(version: str) -> bytes:
    made = partial("", version)
    made["metadata"]["annotations"] = {"k8s.io/initial-events-end": "true"}
    return event("BOOKMARK", made)


@virtual_time
async def test_metadata_alone_is_streamed(clock: VirtualClock) -> None:
    """Design 8: the Accept header asks for it, and each object is given the kind that it is the metadata of."""
    steps = [event("ADDED", partial("a", "1")), bookmark("5"), event("MODIFIED", partial("b", "6"))]
    transport = ScriptedTransport(clock, [], [Stream(steps, stays=True)], streams_lists=True)
    async with reflecting(clock, transport, metadata_only=True) as (sink, _):
        await clock.sleep(0.5)
        assert sink.held == {"default/a": "1", "default/b": "6"}
    assert [call.accept for call in transport.calls] == [ONE]


@virtual_time
async def test_metadata_alone_is_listed_and_watched(clock: VirtualClock) -> None:
    """The list asks for a list of it, the watch for each; a server that sends whole objects is borne with."""
    streams = [Stream([event("ADDED", obj(CONFIG_MAPS, "b", "6")), error(410, "Expired")])]
    transport = ScriptedTransport(clock, [partial_list("5", partial("a", "1")), partial_list("9")], streams)
    async with reflecting(clock, transport, metadata_only=True, watch_list=False) as (sink, _):
        await clock.sleep(0.5)
        assert sink.held == {"default/a": "1", "default/b": "6"}
        await clock.sleep(1)
        assert sink.held == {}
    assert [call.accept for call in transport.calls] == [LIST, ONE, LIST, ONE]


@virtual_time
async def test_items_are_given_their_kind(clock: VirtualClock) -> None:
    """Whoever reads them from a cache asks for ConfigMaps, and need not know how they came."""
    transport = ScriptedTransport(clock, [partial_list("5", partial("a", "1"), {"metadata": {"name": "b"}})])
    page = await Client(transport).list_page(CONFIG_MAPS, metadata_only=True)
    assert [(item["apiVersion"], item["kind"]) for item in page.items] == [("v1", "ConfigMap")] * 2


@pytest.mark.scenario("RF16")
@pytest.mark.parametrize(
    ("metadata_only", "kind", "fits"), [(True, "ConfigMap", True), (False, "ConfigMap", False), (True, "x", False)]
)
def test_bare_metadata_is_an_object_only_where_it_was_asked_for(metadata_only: bool, kind: str, fits: bool) -> None:
    """Elsewhere it would be an object without its content."""
    clock = VirtualClock()
    collection = Collection(client=Client(ScriptedTransport(clock)), resource=CONFIG_MAPS, metadata_only=metadata_only)
    item = partial("a", "1")
    if kind == "x":
        item["kind"] = "PartialObjectMetadataList"
    assert collection.holds(item) is fits
    assert (item["kind"] == "ConfigMap") is fits
