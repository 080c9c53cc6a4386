"""Objects that nest deeper than a decoder reads: the API server takes them where a kind keeps unknown fields.

One of them ended every watch that met it, at the same version for ever, and with it all news of its kind.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
from aiohttp import web

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, resource_version
from kaito_controller.machinery import codec
from kaito_controller.machinery.cache.informer import Informer
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.errors import ApiError, InvalidAnswerError
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.reflector.collection import Collection
from kaito_controller.testing.clock import VirtualClock, cancelled, virtual_time
from kaito_controller.testing.loopback import serving
from kaito_controller.testing.transport import ScriptedTransport, Stream, event, initial_events_end, listing, obj

LEVELS = 9000
"""Below the 10,000 of the API server."""
ABYSS = b'{"text":"}]\\"}","x":[' * (LEVELS // 2) + b"1" + b"]}" * (LEVELS // 2)


def cm(name: str, version: str, **fields: object) -> Object:
    return obj(CONFIG_MAPS, name, version, **fields)


def deep(encoded: bytes) -> bytes:
    """The same with an abyss wherever it says so, in the field ownership, too."""
    return encoded.replace(b'"abyss"', ABYSS)


def deep_cm(name: str, version: str) -> Object:
    made = cm(name, version, data="abyss", more={"a": [1]})
    made["metadata"]["managedFields"] = [{"manager": "x", "fieldsV1": "abyss"}]
    return made


def deep_event(kind: str, name: str, version: str) -> bytes:
    return deep(event(kind, deep_cm(name, version)))


def deep_list(version: str, *objects: Object) -> InvalidAnswerError:
    """What the transport makes of a list that it cannot decode."""
    return InvalidAnswerError(200, "no JSON", deep(json.dumps(listing(CONFIG_MAPS, version, *objects)).encode()))


@asynccontextmanager
async def informed(transport: ScriptedTransport, metrics: Metrics) -> AsyncIterator[tuple[Informer, list[str]]]:
    """A running informer, and what its handler is told."""
    informer = Informer(CONFIG_MAPS, Client(transport), transport.clock, rng=Random(1), metrics=metrics)
    told: list[str] = []
    informer.add_handler(lambda each: told.append(f"{each.change.value} {each.key} {resource_version(each.object)}"))
    task = asyncio.create_task(informer.run())
    try:
        yield informer, told
    finally:
        await cancelled(task)


@pytest.mark.scenario("RF15", "FQ5")
@virtual_time
async def test_an_event_that_nests_too_deep_ends_no_watch(clock: VirtualClock) -> None:
    """It is rejected like what a transform refuses: reported, known by its last state, and its deletion is told."""
    metrics = Metrics()
    lines = [
        deep_event("MODIFIED", "a", "11"),
        event("ADDED", cm("b", "12")),
        deep_event("ADDED", "c", "13"),
        deep_event("MODIFIED", "c", "14"),
        deep_event("DELETED", "a", "15"),
    ]
    transport = ScriptedTransport(clock, [listing(CONFIG_MAPS, "10", cm("a", "1"))], [Stream(lines, stays=True)])
    async with informed(transport, metrics) as (informer, told):
        await clock.sleep(200)
        assert told == ["ADDED default/a 1", "ADDED default/b 12", "DELETED default/a 1"]
        assert list(informer.store.keys()) == ["default/b"]
        assert (informer.store.resource_version, informer.last_error) == ("15", None)
        assert len(transport.watches) == 1
    assert metrics.registry.get_sample_value("informer_unfit_objects_total", {"name": "ConfigMap"}) == 2


@pytest.mark.scenario("FQ5")
@pytest.mark.parametrize("streams_lists", [True, False])
@virtual_time
async def test_an_object_that_nests_too_deep_hides_no_other_of_a_list(clock: VirtualClock, streams_lists: bool) -> None:
    """In a stream of everything as in a list; what was known of it stays when everything is read again."""
    metrics, transport = Metrics(), ScriptedTransport(clock, streams_lists=streams_lists)
    rounds = [("10", cm("a", "1"), cm("b", "2"), deep_cm("c", "3")), ("20", deep_cm("a", "11"), cm("d", "12"))]
    for version, *items in rounds:
        if streams_lists:
            lines = [*(deep(event("ADDED", item)) for item in items), initial_events_end(CONFIG_MAPS, version)]
            transport.streams.append(Stream([*lines, 5.0, event("ERROR", {"code": 410, "reason": "Expired"})]))
        else:
            transport.answers.append(deep_list(version, *items))
            transport.streams.append(Stream([5.0, event("ERROR", {"code": 410, "reason": "Expired"})]))
    async with informed(transport, metrics) as (informer, told):
        await clock.sleep(4)
        assert sorted(informer.store.keys()) == ["default/a", "default/b"]
        await clock.sleep(5)
        assert sorted(told[2:]) == ["ADDED default/d 12", "DELETED default/b 2"]
        assert resource_version(informer.store.list()[0]) == "1", "its last state that could be read"
        assert informer.store.resource_version == "20"
    assert metrics.registry.get_sample_value("informer_unfit_objects_total", {"name": "ConfigMap"}) == 2


async def test_a_list_over_the_wire_is_cut_for_caches_alone(tmp_path) -> None:
    """Whoever reads objects to write them again gets an error: a part of one must not be taken for the whole."""
    body = deep(json.dumps(listing(CONFIG_MAPS, "10", cm("a", "1"), deep_cm("b", "2"))).encode())

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    async with serving(answer, tmp_path) as transport:
        client = Client(transport)
        with pytest.raises(ApiError, match="200 InvalidAnswer"):
            await client.list(CONFIG_MAPS)
        with pytest.raises(ApiError, match="200 InvalidAnswer"):
            await client.get(CONFIG_MAPS, "b", "default")
        page = await Collection(client=client, resource=CONFIG_MAPS).page("0", 500)
    assert [codec.CUT in item for item in page.items] == [False, True]
    assert (page.items[0], page.items[1]["more"]) == (cm("a", "1"), {"a": [1]})


@pytest.mark.parametrize("data", [b"<html>", b"[" * 5000, deep(b'{"a":"abyss"')])
@virtual_time
async def test_a_list_that_is_no_json_stays_an_error(clock: VirtualClock, data: bytes) -> None:
    """It is told as the transport told it."""
    transport = ScriptedTransport(clock, [InvalidAnswerError(200, "no JSON", data)])
    with pytest.raises(InvalidAnswerError, match="no JSON"):
        await Collection(client=Client(transport), resource=CONFIG_MAPS).page("0", 500)


def test_only_what_nests_too_deep_is_cut() -> None:
    """Of two objects at a level the one with an abyss is marked; strings may hold any bracket and quote."""
    whole = {"a": ["]}", '\\"{', "\\"], "b": {}}
    data = b'{"object":%s,"other":{"x":1,"abyss":%s}}' % (json.dumps(whole).encode(), ABYSS)
    cut = codec.shortened(data, 2)
    assert (cut["object"], cut["other"]["x"], cut["other"][codec.CUT]) == (whole, 1, True)
    assert codec.loads(codec.dumps(cut)) == cut


@pytest.mark.parametrize("data", [b"{}", b"<html>", b'{"a":', b"[" * 5000, b"{}]" * 5000])
def test_what_is_wrong_otherwise_stays_an_error(data: bytes) -> None:
    """There is nothing to save of what is no JSON."""
    with pytest.raises(ValueError, match=r"."):
        codec.shortened(data, 2)


def test_looking_for_brackets_takes_time_in_proportion_to_the_data() -> None:
    """Even where a string has no end and a hundred thousand quotes that might be one."""
    started = time.process_time()
    with pytest.raises(ValueError, match="nothing in it nests deeper"):
        codec.shortened(b'{"a":"' + b'\\"[' * 300_000 + b"\\", 2)
    assert time.process_time() - started < 1
