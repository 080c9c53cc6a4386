"""The reflector: what it asks the server, and how it goes on after every kind of failure."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from random import Random

import pytest
from attrs import define, field

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, key
from kaito_controller.machinery.client import Client
from kaito_controller.machinery.errors import ApiConnectionError, ApiError
from kaito_controller.machinery.reflector import Reflector
from kaito_controller.testing.clock import VirtualClock, cancelled, virtual_time
from kaito_controller.testing.transport import (
    ScriptedTransport,
    Stream,
    bookmark,
    error,
    event,
    gone,
    listing,
    obj,
    refused,
)

LIST = "/api/v1/configmaps"


@define
class Notes:
    """A sink that writes down what it is told."""

    told: list[tuple[str, object]] = field(factory=list)
    held: dict[str, str] = field(factory=dict)

    def replace(self, objects: Sequence[Object], version: str) -> None:
        self.held = {key(item): item["metadata"]["resourceVersion"] for item in objects}
        self.told.append(("replace", version))

    def changed(self, item: Object) -> None:
        self.held[key(item)] = item["metadata"]["resourceVersion"]
        self.told.append(("changed", key(item)))

    def deleted(self, item: Object) -> None:
        self.held.pop(key(item), None)
        self.told.append(("deleted", key(item)))

    def bookmark(self, version: str) -> None:
        self.told.append(("bookmark", version))


def cm(name: str, version: str) -> Object:
    return obj(CONFIG_MAPS, name, version)


def page(version: str, *objects: Object, next_page: str = "") -> Object:
    return listing(CONFIG_MAPS, version, *objects, next_page=next_page)


@asynccontextmanager
async def reflecting(clock: VirtualClock, transport: ScriptedTransport):
    sink = Notes()
    reflector = Reflector(client=Client(transport), resource=CONFIG_MAPS, sink=sink, clock=clock, rng=Random(1))
    task = asyncio.create_task(reflector.run())
    try:
        yield sink, reflector
    finally:
        await cancelled(task)
        assert transport.open_streams == 0


@virtual_time
async def test_the_first_list_is_served_by_the_watch_cache(clock: VirtualClock) -> None:
    """RF1, RF9: RV 0 with limit 500, then a watch from the list's version, with bookmarks, for 300 to 600 s."""
    transport = ScriptedTransport(clock, [page("10", cm("a", "4"))])
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(1)
    assert transport.lists[0].query == {"resourceVersion": "0", "limit": "500"}
    watch = dict(transport.watches[0].query)
    assert 300 <= int(watch.pop("timeoutSeconds")) <= 600
    assert watch == {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": "10"}
    assert sink.told == [("replace", "10")]


@virtual_time
async def test_pages_carry_the_token_and_no_version(clock: VirtualClock) -> None:
    """RF3, RF7: the version of the whole is that of page 1, and the sink hears of it once."""
    transport = ScriptedTransport(clock, [page("10", cm("a", "1"), next_page="t"), page("10", cm("b", "2"))])
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(1)
    assert transport.lists[1].query == {"limit": "500", "continue": "t"}
    assert (sink.told, set(sink.held)) == ([("replace", "10")], {"default/a", "default/b"})


@virtual_time
async def test_an_expired_page_makes_one_whole_list(clock: VirtualClock) -> None:
    """RF4: 410 on page 2 lists everything at the version first asked for, without limit."""
    transport = ScriptedTransport(clock, [page("10", next_page="t"), gone(), page("12", cm("a", "1"))])
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(1)
    assert transport.lists[2].query == {"resourceVersion": "0"}
    assert sink.told == [("replace", "12")]


@virtual_time
async def test_a_relist_asks_for_the_last_version_without_a_limit(clock: VirtualClock) -> None:
    """RF2, RF14: in-stream 410 lists again at the last version seen; pages are not asked for."""
    streams = [Stream([event("ADDED", cm("a", "11")), error(410, "Expired")])]
    transport = ScriptedTransport(clock, [page("10"), page("20", cm("a", "11"))], streams)
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(5)
    assert transport.lists[1].query == {"resourceVersion": "11"}
    assert transport.watches[1].query["resourceVersion"] == "20"
    assert sink.told == [("replace", "10"), ("changed", "default/a"), ("replace", "20")]


@virtual_time
async def test_a_server_that_paginates_is_asked_for_pages_ever_after(clock: VirtualClock) -> None:
    """RF2: without a watch cache the limit stays on."""
    streams = [Stream([error(410, "Expired")])]
    transport = ScriptedTransport(clock, [page("10", next_page="t"), page("10"), page("12")], streams)
    async with reflecting(clock, transport):
        await clock.sleep(5)
    assert transport.lists[2].query == {"resourceVersion": "10", "limit": "500"}


@pytest.mark.parametrize(
    "failure",
    [
        gone(),
        ApiError(504, "Timeout", "Too large resource version: 99, current: 7"),
        ApiError(504, "Timeout", "", {"causes": [{"reason": "ResourceVersionTooLarge"}]}),
    ],
)
@virtual_time
async def test_a_version_that_the_server_does_not_have_is_read_by_quorum_at_once(
    clock: VirtualClock, failure: ApiError
) -> None:
    """RF5, RF6: Expired and TooLarge are answered by a list without a version, without waiting."""
    transport = ScriptedTransport(clock, [failure, page("7")])
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(0.1)
    assert transport.lists[1].query == {"limit": "500"}
    assert sink.told == [("replace", "7")]


@virtual_time
async def test_a_failed_list_is_tried_again_with_growing_jittered_waits(clock: VirtualClock) -> None:
    """RF8, RF19: delays drawn from [0.8, 1.6), [1.6, 3.2), [3.2, 6.4) ... up to [30, 60) seconds."""
    failures = [ApiError(500, "InternalError", "etcd is away")] * 9
    transport = ScriptedTransport(clock, [*failures, page("7")])
    async with reflecting(clock, transport) as (sink, reflector):
        await clock.sleep(0.1)
        assert "etcd is away" in str(reflector.last_error)
        await clock.sleep(1000)
        assert reflector.last_error is None
    starts = [call.at for call in transport.lists]
    waits = [later - earlier for earlier, later in pairwise(starts)]
    floors = [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]
    assert [floor <= wait < 2 * floor for floor, wait in zip(floors, waits, strict=False)] == [True] * 7
    assert sink.told == [("replace", "7")]


@virtual_time
async def test_a_watch_that_ends_is_opened_again_at_once_from_the_last_version(clock: VirtualClock) -> None:
    """RF10, RF17: no list, no wait; bookmarks move the version and call no handler."""
    streams = [Stream([event("ADDED", cm("a", "11")), bookmark(CONFIG_MAPS, "15")]), Stream([5.0]), Stream(stays=True)]
    transport = ScriptedTransport(clock, [page("10")], streams)
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(6)
    assert [(round(call.at, 3), call.query["resourceVersion"]) for call in transport.watches] == [
        (0, "10"),
        (0, "15"),
        (5, "15"),
    ]
    assert len(transport.lists) == 1
    assert sink.told == [("replace", "10"), ("changed", "default/a"), ("bookmark", "15")]


@virtual_time
async def test_a_watch_that_ends_at_once_and_empty_backs_off(clock: VirtualClock) -> None:
    """RF11: no hot loop against a server that closes everything."""
    transport = ScriptedTransport(clock, [page("10")] + [page("10")] * 3, [Stream(), Stream(), Stream()])
    async with reflecting(clock, transport):
        await clock.sleep(3)
    assert len(transport.watches) <= 3


@virtual_time
async def test_a_refused_watch_waits_and_does_not_list(clock: VirtualClock) -> None:
    """RF12: four refusals and 429s, then a stream: one list, five watches, all from the same version."""
    streams = [refused(), ApiError(429, "TooManyRequests"), refused(), ApiError(429, "TooManyRequests"), Stream([9.0])]
    transport = ScriptedTransport(clock, [page("10")], streams)
    async with reflecting(clock, transport):
        await clock.sleep(30)
    assert (len(transport.lists), len(transport.watches) >= 5) == (1, True)
    assert {call.query["resourceVersion"] for call in transport.watches[:5]} == {"10"}
    starts = [call.at for call in transport.watches[:5]]
    floors = [0.8, 1.6, 3.2, 6.4]
    assert all(
        floor <= later - earlier < 2 * floor for floor, (earlier, later) in zip(floors, pairwise(starts), strict=False)
    )


@pytest.mark.parametrize("failure", [ApiError(403, "Forbidden"), ApiError(500, "InternalError"), gone()])
@virtual_time
async def test_any_other_refusal_of_a_watch_lists_again(clock: VirtualClock, failure: ApiError) -> None:
    """RF13."""
    transport = ScriptedTransport(clock, [page("10"), page("20")], [failure])
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(3)
    assert sink.told == [("replace", "10"), ("replace", "20")]


@virtual_time
async def test_an_error_in_the_stream_lists_again_and_finds_what_no_event_named(clock: VirtualClock) -> None:
    """RF14: the new list removes what vanished meanwhile."""
    streams = [Stream([event("ADDED", cm("b", "11")), error(500, "StoreReadError")])]
    transport = ScriptedTransport(clock, [page("10", cm("a", "1")), page("20", cm("a", "1"))], streams)
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(3)
        assert set(sink.held) == {"default/a"}


@virtual_time
async def test_429_in_the_stream_waits_and_does_not_list(clock: VirtualClock) -> None:
    """RF14."""
    streams = [Stream([event("ADDED", cm("b", "11")), error(429, "TooManyRequests")])]
    transport = ScriptedTransport(clock, [page("10")], streams)
    async with reflecting(clock, transport):
        await clock.sleep(3)
    assert (len(transport.lists), transport.watches[1].query["resourceVersion"]) == (1, "11")
    assert 0.8 <= transport.watches[1].at < 1.6


@virtual_time
async def test_a_frame_that_is_no_event_lists_again(clock: VirtualClock) -> None:
    """RF15: garbage is an error of the stream, never an object."""
    transport = ScriptedTransport(clock, [page("10"), page("12")], [Stream([b"<html>bad gateway</html>\n"])])
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(3)
    assert sink.told == [("replace", "10"), ("replace", "12")]


@virtual_time
async def test_a_connection_that_breaks_is_an_end_like_any_other(clock: VirtualClock) -> None:
    """RF15: after an event, a reset is followed by a new watch at once, without a list."""
    streams = [Stream([event("ADDED", cm("a", "11")), ApiConnectionError("reset by peer")])]
    transport = ScriptedTransport(clock, [page("10")], streams)
    async with reflecting(clock, transport):
        await clock.sleep(0.1)
    assert [call.query["resourceVersion"] for call in transport.watches] == ["10", "11"]
    assert len(transport.lists) == 1


@virtual_time
async def test_events_of_other_kinds_are_skipped(clock: VirtualClock) -> None:
    """RF16: another kind, a Table or an object without metadata moves nothing; an unknown type moves the version."""
    other = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "resourceVersion": "99"}}
    bare = {"apiVersion": "v1", "kind": "ConfigMap"}
    lines = [event("ADDED", other), event("ADDED", bare), event("RENAMED", cm("x", "12"))]
    transport = ScriptedTransport(clock, [page("10")], [Stream([*lines, 2.0])])
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(3)
    assert (sink.told, transport.watches[1].query["resourceVersion"]) == ([("replace", "10")], "12")


@virtual_time
async def test_lines_may_be_cut_anywhere(clock: VirtualClock) -> None:
    """T4: two events in one chunk, one event in many, characters of several bytes cut apart, a line of 5 MiB."""
    accented = cm("a", "11") | {"data": {"text": "Zürich ☃"}}
    large = cm("b", "12") | {"data": {"text": "x" * 5 * 2**20}}
    raw = event("ADDED", accented).replace(b"\\u00fc", "ü".encode()) + event("ADDED", large)
    cuts = [raw[:40], *(raw[i : i + 1] for i in range(40, 120)), raw[120 : 2**20], raw[2**20 :]]
    transport = ScriptedTransport(clock, [page("10")], [Stream([*cuts, event("DELETED", cm("a", "13"))], stays=True)])
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(1)
        assert sink.held == {"default/b": "12"}


@virtual_time
async def test_a_stream_gone_silent_is_left_after_90_s_once_bookmarks_were_seen(clock: VirtualClock) -> None:
    """RF24: a dead connection is noticed by its silence and watched again from the last version."""
    transport = ScriptedTransport(clock, [page("10")], [Stream([30.0, bookmark(CONFIG_MAPS, "17")], stays=True)])
    async with reflecting(clock, transport):
        await clock.sleep(121)
    assert [(call.at, call.query["resourceVersion"]) for call in transport.watches] == [(0, "10"), (120, "17")]
    assert len(transport.lists) == 1


@virtual_time
async def test_a_server_without_bookmarks_may_be_silent_until_the_deadline_passed(clock: VirtualClock) -> None:
    """RF22, RF24: only the watch's own deadline plus 30 s ends such a stream."""
    transport = ScriptedTransport(clock, [page("10")], [Stream(stays=True)])
    async with reflecting(clock, transport):
        await clock.sleep(1000)
    deadline = int(transport.watches[0].query["timeoutSeconds"]) + 30
    assert transport.watches[1].at == deadline


@virtual_time
async def test_a_cancel_during_the_list_replaces_nothing(clock: VirtualClock) -> None:
    """RF7, RF21: no replace, no error, nothing left open."""
    transport = ScriptedTransport(clock, [page("10")])
    async with reflecting(clock, transport) as (sink, _):
        await asyncio.sleep(0)
    assert sink.told == []


@virtual_time
async def test_a_defect_in_a_sink_does_not_end_the_reflector(clock: VirtualClock) -> None:
    """No failure but its cancel ends it: after an exception of the sink everything is listed again."""

    class Brittle(Notes):
        def changed(self, item: Object) -> None:
            raise RuntimeError(f"cannot take {key(item)}")

    streams = [Stream([event("ADDED", cm("a", "11"))])]
    transport = ScriptedTransport(clock, [page("10"), page("20")], streams)
    sink = Brittle()
    reflector = Reflector(client=Client(transport), resource=CONFIG_MAPS, sink=sink, clock=clock, rng=Random(1))
    task = asyncio.create_task(reflector.run())
    await clock.sleep(3)
    assert sink.told == [("replace", "10"), ("replace", "20")]
    await cancelled(task)


@virtual_time
async def test_a_storm_leaves_turns_for_others(clock: VirtualClock) -> None:
    """Design 2: during 10,000 events in one chunk other tasks run at least every 200 events."""
    chunk = b"".join(event("ADDED", cm(f"c{number}", str(11 + number))) for number in range(10_000))
    transport = ScriptedTransport(clock, [page("10")], [Stream([chunk], stays=True)])
    longest, last = 0, 0
    async with reflecting(clock, transport) as (sink, _):
        while len(sink.held) < 10_000:
            await asyncio.sleep(0)
            longest, last = max(longest, len(sink.held) - last), len(sink.held)
    assert longest <= 200
