"""Reading everything from one stream: what is asked, what counts as its end, and when lists take over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, key
from kaito_controller.machinery.cache.informer import Informer
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.errors import ApiConnectionError, ApiConnectionLostError, ApiError, ApiTimeoutError
from kaito_controller.machinery.reflector import initial_events
from kaito_controller.testing.clock import VirtualClock, cancelled, virtual_time
from kaito_controller.testing.reflecting import Notes, reflecting
from kaito_controller.testing.transport import (
    Answer,
    ScriptedTransport,
    Step,
    Stream,
    bookmark,
    error,
    event,
    gone,
    initial_events_end,
    listing,
    obj,
    refused,
)

EVERYTHING = {
    "watch": "true",
    "allowWatchBookmarks": "true",
    "sendInitialEvents": "true",
    "resourceVersionMatch": "NotOlderThan",
}
INVALID = ApiError(422, "Invalid", "sendInitialEvents: Forbidden")


def cm(name: str, version: str, **fields: Any) -> Object:
    return obj(CONFIG_MAPS, name, version, **fields)


def page(version: str, *objects: Object) -> Object:
    return listing(CONFIG_MAPS, version, *objects)


def end(version: str) -> bytes:
    return initial_events_end(CONFIG_MAPS, version)


def added(name: str, version: str) -> bytes:
    return event("ADDED", cm(name, version))


def serving(
    clock: VirtualClock, *streams: Stream | Exception | Sequence[Step], answers: Sequence[Answer] = ()
) -> ScriptedTransport:
    """A server with the feature; a stream given by its steps alone stays open."""
    scripts = [item if isinstance(item, Stream | Exception) else Stream(list(item), stays=True) for item in streams]
    return ScriptedTransport(clock, answers, scripts, streams_lists=True)


def requests(transport: ScriptedTransport) -> list[tuple[float, str, str]]:
    """When everything was streamed, listed and watched, and at which version."""
    return [
        (
            round(call.at, 6),
            "stream" if call.is_watch_list else "watch" if call.is_watch else "list",
            call.query.get("resourceVersion", ""),
        )
        for call in transport.calls
    ]


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The warnings that the end of the initial events is missing, as they were logged."""
    logged: list[dict[str, Any]] = []

    class Log:
        def warning(self, message: str, **fields: Any) -> None:
            assert "still missing" in message
            logged.append(fields)

    monkeypatch.setattr(initial_events, "log", Log())
    return logged


@pytest.mark.scenario("WL1", "WL3", "WL7")
@virtual_time
async def test_one_stream_tells_what_is_there_and_goes_on_as_the_watch(clock: VirtualClock) -> None:
    """Prove that the reflector is synced after the bookmark: one replace at its version, then events, one request."""
    steps = [added("p1", "9"), added("p2", "2"), 3.0, end("7"), 5.0, event("MODIFIED", cm("p2", "12"))]
    transport = serving(clock, steps)
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(2.5)
        assert sink.told == []
        await clock.sleep(1)
        assert sink.held == {"default/p1": "9", "default/p2": "2"}
        await clock.sleep(6)
    asked = dict(transport.calls[0].query)
    assert 300 <= int(asked.pop("timeoutSeconds")) < 600
    assert asked == EVERYTHING
    assert requests(transport) == [(0, "stream", "")]
    assert sink.told == [("replace", "7"), ("changed", "default/p2")]


@pytest.mark.scenario("WL2", "FQ2")
@virtual_time
async def test_changes_before_the_end_are_part_of_what_is_there(clock: VirtualClock) -> None:
    """Check if updates and deletes are propagated during streaming: the sink hears of their outcome only."""
    p1 = cm("p1", "3", data={"x": "12"})
    steps = [
        added("p1", "1"),
        added("p2", "2"),
        event("MODIFIED", p1),
        added("p3", "4"),
        event("DELETED", cm("p3", "5")),
        event("DELETED", cm("never-seen", "6")),
        end("6"),
    ]
    transport = serving(clock, steps)
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(0.1)
        assert (sink.told, sink.held) == ([("replace", "6")], {"default/p1": "3", "default/p2": "2"})


@pytest.mark.scenario("WL2")
@virtual_time
async def test_what_is_streamed_is_transformed_like_what_is_listed(clock: VirtualClock) -> None:
    """TestReflectorRespectStoreTransformer: stored objects are stripped, whichever way they came, and only once."""
    heavy = cm("a", "1")
    heavy["metadata"]["managedFields"] = [{}]
    turns: list[str] = []

    def transform(item: Object) -> Object:
        turns.append(item["metadata"]["name"])
        item["metadata"].pop("managedFields", None)
        return item

    streams = [event("ADDED", heavy), end("7")]
    for transport in (serving(clock, streams), ScriptedTransport(clock, [page("7", heavy)])):
        informer = Informer(CONFIG_MAPS, Client(transport), clock, rng=Random(1), transform=transform)
        task = asyncio.create_task(informer.run())
        await informer.wait_synced()
        stored = informer.store.get("default/a")
        assert stored is not None
        assert "managedFields" not in stored["metadata"]
        await cancelled(task)
    assert turns == ["a", "a"]


@virtual_time
async def test_what_is_not_kept_goes_before_the_end_of_the_stream(clock: VirtualClock) -> None:
    """All objects whole until the end of the stream made the most memory that an operator ever used."""
    turns: list[str] = []

    def transform(item: Object) -> Object:
        turns.append(item["metadata"]["name"])
        return item

    transport = serving(clock, [added("a", "1"), added("b", "2"), 5.0, end("7")])
    informer = Informer(CONFIG_MAPS, Client(transport), clock, rng=Random(1), transform=transform)
    task = asyncio.create_task(informer.run())
    await clock.sleep(1)
    assert (turns, informer.has_synced) == (["a", "b"], False)
    await informer.wait_synced()
    assert (turns, list(informer.store.keys())) == (["a", "b"], ["default/a", "default/b"])
    await cancelled(task)


@virtual_time
async def test_a_stream_that_rejects_an_object_keeps_what_was_known_of_it(clock: VirtualClock) -> None:
    """As a list does; of one that was not known, nothing, whatever the stream said of it before."""

    def picky(item: Object) -> Object:
        if "poison" in item:
            raise KeyError("data")
        return item

    poison = {"poison": 1}
    first = [added("a", "1"), end("7"), error(410, "Expired")]
    again = [
        event("ADDED", cm("a", "8") | poison),
        added("b", "9"),
        event("MODIFIED", cm("b", "10") | poison),
        added("c", "11"),
        end("12"),
    ]
    informer = Informer(CONFIG_MAPS, Client(serving(clock, first, again)), clock, rng=Random(1), transform=picky)
    task = asyncio.create_task(informer.run())
    await clock.sleep(60)
    assert [(key(item), item["metadata"]["resourceVersion"]) for item in informer.store.list()] == [
        ("default/a", "1"),
        ("default/c", "11"),
    ]
    await cancelled(task)


@pytest.mark.scenario("WL3")
@pytest.mark.parametrize("marked", ["false", "True", "1", ""])
@virtual_time
async def test_only_the_very_mark_is_the_end(clock: VirtualClock, marked: str) -> None:
    """Prove that the reflector is checking the value of the annotation: any other bookmark syncs nothing."""
    steps = [added("p1", "1"), initial_events_end(CONFIG_MAPS, "2", marked), bookmark(CONFIG_MAPS, "3")]
    transport = serving(clock, steps)
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(29)
    assert (sink.told, requests(transport)) == ([], [(0, "stream", "")])


@pytest.mark.scenario("WL3", "WL7")
@pytest.mark.parametrize("annotations", [None, [], "x"])
@virtual_time
async def test_a_bookmark_of_odd_shape_is_not_the_end(clock: VirtualClock, annotations: object) -> None:
    """Bad input: annotations of any type, or a mark without a version, from which no watch could go on."""
    head = {"resourceVersion": "9", "annotations": annotations}
    odd = event("BOOKMARK", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": head})
    transport = serving(clock, [odd, end(""), 1.0, end("7")])
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(0.5)
        assert sink.told == []
        await clock.sleep(1)
    assert sink.told == [("replace", "7")]


@pytest.mark.scenario("WL3", "RF10")
@virtual_time
async def test_when_the_stream_ends_after_its_sync_a_plain_watch_goes_on(clock: VirtualClock) -> None:
    """Stopping a watcher after synchronization results in creating a new watch request, from the last version."""
    first = Stream([added("p1", "1"), added("p2", "2"), end("2"), added("p3", "3")])
    transport = serving(clock, first, [added("p4", "4")])
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(0.5)
        assert set(sink.held) == {f"default/p{number}" for number in (1, 2, 3, 4)}
    assert requests(transport) == [(0, "stream", ""), (0, "watch", "3")]
    assert "sendInitialEvents" not in transport.watches[0].query


@pytest.mark.scenario("WL3", "RF10")
@virtual_time
async def test_a_stream_that_ends_right_after_its_sync_costs_one_watch(clock: VirtualClock) -> None:
    """It had events, so it was no short watch; the version of its end is where the watch goes on."""
    transport = serving(clock, Stream([added("p1", "1"), end("2")]), [])
    async with reflecting(clock, transport):
        await clock.sleep(0.5)
    assert requests(transport) == [(0, "stream", ""), (0, "watch", "2")]


@pytest.mark.scenario("WL1", "WL3", "RF14")
@virtual_time
async def test_what_is_read_again_is_streamed_at_the_last_version(clock: VirtualClock) -> None:
    """Expiring an established watcher: 410 in the stream waits and streams anew; the old copy stays till then."""
    transport = serving(
        clock,
        Stream([added("p1", "1"), end("2"), added("p3", "3"), error(410, "Expired")]),
        [added("p3", "3"), 1.0, end("5")],
    )
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(1.5)
        assert set(sink.held) == {"default/p1", "default/p3"}
        await clock.sleep(1)
        assert set(sink.held) == {"default/p3"}
    assert requests(transport) == [(0, "stream", ""), (0.8, "stream", "3")]
    assert sink.told == [("replace", "2"), ("changed", "default/p3"), ("replace", "5")]


@pytest.mark.scenario("WL4", "RF13")
@virtual_time
async def test_a_watch_refused_after_the_sync_streams_everything_anew(clock: VirtualClock) -> None:
    """Expiring an established watcher results in an error of the reflector: reported, waited, streamed at 3."""
    transport = serving(clock, Stream([added("p1", "1"), end("2"), added("p3", "3")]), gone(), [end("9")])
    async with reflecting(clock, transport) as (_, reflector):
        await clock.sleep(0.5)
        assert "Expired" in str(reflector.last_error)
        await clock.sleep(1)
    assert requests(transport) == [(0, "stream", ""), (0, "watch", "3"), (0.8, "stream", "3")]


@pytest.mark.scenario("WL4", "RF12", "RF19")
@pytest.mark.parametrize("how", ["opening", "in stream", "refused"])
@virtual_time
async def test_a_busy_server_is_asked_for_the_stream_again(clock: VirtualClock, how: str) -> None:
    """Checks if the reflector retries 429: waits grow, nothing is listed, and what came before counts for nothing."""
    busy: dict[str, Stream | Exception] = {
        "opening": ApiError(429, "TooManyRequests"),
        "in stream": Stream([added("stale", "1"), error(429, "TooManyRequests")]),
        "refused": refused(),
    }
    transport = serving(clock, busy[how], busy[how], busy[how], busy[how], [added("p1", "1"), end("2")])
    async with reflecting(clock, transport) as (sink, reflector):
        await clock.sleep(0.5)
        assert reflector.last_error is not None
        await clock.sleep(12)
        assert (sink.told, sink.held) == ([("replace", "2")], {"default/p1": "1"})
        assert reflector.last_error is None
    assert requests(transport) == [(at, "stream", "") for at in (0, 0.8, 2.4, 5.6, 12)]


@pytest.mark.scenario("WL4", "WL1", "RF5", "RF6")
@pytest.mark.parametrize(
    "failure",
    [gone(), ApiError(504, "Timeout", "Too large resource version: 99, current: 7")],
    ids=["expired", "too large"],
)
@pytest.mark.parametrize("where", ["opening", "in stream"])
@virtual_time
async def test_a_version_that_is_not_there_is_given_up_at_once(
    clock: VirtualClock, failure: ApiError, where: str
) -> None:
    """The next stream asks for no version, without a wait; a success clears that, so the one after asks again."""
    first = Stream([end("10"), error(410, "Expired")])
    answer = failure if where == "opening" else Stream([error(failure.status, failure.reason, failure.message)])
    transport = serving(clock, first, answer, Stream([end("20"), error(410, "Expired")]), [end("30")])
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(5)
    assert requests(transport) == [
        (0, "stream", ""),
        (0.8, "stream", "10"),
        (0.8, "stream", ""),
        (2.4, "stream", "20"),
    ]
    assert sink.told == [("replace", "10"), ("replace", "20"), ("replace", "30")]


@pytest.mark.scenario("WL4", "RF5")
@virtual_time
async def test_a_server_that_calls_every_version_expired_is_listed(clock: VirtualClock) -> None:
    """Without a bound the stream would be asked for again and again without a wait; the list is a quorum read then."""
    transport = serving(clock, gone(), gone(), answers=[page("7")])
    async with reflecting(clock, transport):
        await clock.sleep(0.5)
    assert requests(transport) == [(0, "stream", ""), (0, "stream", ""), (0, "list", ""), (0, "watch", "7")]


@pytest.mark.scenario("WL4")
@pytest.mark.parametrize(
    "failure",
    [
        INVALID,
        ApiError(400, "BadRequest", "sendInitialEvents is forbidden"),
        ApiError(405, "MethodNotAllowed"),
        ApiError(403, "Forbidden"),
        ApiError(500, "InternalError"),
        ApiConnectionError("certificate verify failed"),
        ApiConnectionLostError("EOF"),
        Stream(),
        Stream([error(500, "InternalError")]),
        Stream([b"<html>bad gateway</html>\n"]),
    ],
    ids=["422", "400", "405", "403", "500", "tls", "eof while opening", "short", "500 in stream", "garbage"],
)
@virtual_time
async def test_any_other_failure_lists_this_time(clock: VirtualClock, failure: Stream | Exception) -> None:
    """Returning any other error forces fallback; the reflector can fall back when a server doesn't support streaming.

    The list follows at once, a watch goes on from it, and the next time everything is read the stream is tried again.
    """
    streams = [failure, Stream([added("p2", "2"), error(410, "Expired")]), [end("9")]]
    transport = serving(clock, *streams, answers=[page("1", cm("p1", "1"))])
    async with reflecting(clock, transport) as (sink, reflector):
        await clock.sleep(0.5)
        assert (set(sink.held), reflector.last_error) == ({"default/p1", "default/p2"}, None)
        await clock.sleep(1)
    assert requests(transport) == [
        (0, "stream", ""),
        (0, "list", "0"),
        (0, "watch", "1"),
        (0.8, "stream", "2"),
    ]
    assert transport.lists[0].query == {"resourceVersion": "0", "limit": "500"}
    assert sink.told == [("replace", "1"), ("changed", "default/p2"), ("replace", "9")]


@pytest.mark.scenario("WL4")
@virtual_time
async def test_streaming_can_be_turned_off(clock: VirtualClock) -> None:
    """The reflector uses the old semantics if turned off: a list and a watch."""
    transport = serving(clock, [added("p2", "2")], answers=[page("1", cm("p1", "1"))])
    async with reflecting(clock, transport, watch_list=False):
        await clock.sleep(0.5)
    assert requests(transport) == [(0, "list", "0"), (0, "watch", "1")]


@pytest.mark.scenario("WL5")
@pytest.mark.parametrize("ending", [[], [ApiConnectionError("reset by peer")], [added("p9", "9")[:-7]]])
@virtual_time
async def test_a_stream_without_its_end_is_asked_for_anew_with_nothing_kept(
    clock: VirtualClock, ending: Sequence[Step]
) -> None:
    """Check if stopping a watcher before sync results in creating a new watch-list request, from the same version."""
    transport = serving(clock, Stream([added("stale", "90"), *ending]), [added("p1", "1"), end("2")])
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(0.5)
        assert (sink.told, sink.held) == ([("replace", "2")], {"default/p1": "1"})
    assert requests(transport) == [(0, "stream", ""), (0, "stream", "")]


@pytest.mark.scenario("WL5")
@virtual_time
async def test_three_streams_without_an_end_make_lists_of_it_for_good(clock: VirtualClock) -> None:
    """A server that never sends the end would be asked for ever: it is remembered, for every later reading too."""
    cut = Stream([added("p1", "90")])
    transport = serving(
        clock, cut, cut, cut, Stream([error(410, "Expired")]), answers=[page("5", cm("p1", "1")), page("6")]
    )
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(2)
    assert requests(transport) == [
        (0, "stream", ""),
        (0, "stream", ""),
        (0, "stream", ""),
        (0, "list", "0"),
        (0, "watch", "5"),
        (0.8, "list", "5"),
        (0.8, "watch", "6"),
    ]
    assert sink.told == [("replace", "5"), ("replace", "6")]


@pytest.mark.scenario("WL5")
@virtual_time
async def test_streams_that_came_to_their_end_are_not_held_against_the_server(clock: VirtualClock) -> None:
    """Only failures in a row count: two, a success, and two more are no reason to list."""
    cut = Stream([added("p1", "1")])
    synced = Stream([end("5"), error(410, "Expired")])
    transport = serving(clock, cut, cut, synced, cut, cut, [end("6")])
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(2)
    assert (len(transport.lists), sink.told) == (0, [("replace", "5"), ("replace", "6")])


@pytest.mark.scenario("WL4", "WL5")
@virtual_time
async def test_streams_that_were_never_opened_are_not_held_against_the_server(clock: VirtualClock) -> None:
    """A network that is away for minutes says nothing about the server: lists fail too, then the stream is back."""

    class Away(ScriptedTransport):
        @asynccontextmanager
        async def stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[AsyncIterator[bytes]]:
            async with super().stream(*args, **kwargs) as chunks:
                if len(self.watch_lists) <= 5:
                    await clock.sleep(30)
                    raise ApiTimeoutError("no answer in time")
                yield chunks

    streams = [Stream()] * 5 + [Stream([end("5")], stays=True)]
    transport = Away(clock, [ApiTimeoutError("no answer in time")] * 5, streams, streams_lists=True)
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(300)
    assert sink.told == [("replace", "5")]


@pytest.mark.scenario("WL5", "WL6")
@virtual_time
async def test_a_server_that_ignores_the_request_is_listed_after_two_waits(
    clock: VirtualClock, warnings: list[dict[str, Any]]
) -> None:
    """It sends what is there and then nothing: 30 s without another object, twice, then a list, for good."""
    transport = serving(
        clock,
        [added("p1", "1"), 4.0, added("p2", "2")],
        [added("p1", "1"), added("p2", "2")],
        answers=[page("5", cm("p1", "1"))],
    )
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(65)
    assert requests(transport) == [(0, "stream", ""), (34, "stream", ""), (64, "list", "0"), (64, "watch", "5")]
    assert sink.told == [("replace", "5")]
    assert [(entry["seconds"], entry["objects"]) for entry in warnings] == [
        *((10, 2), (20, 2), (30, 2)),
        *((10, 2), (20, 2), (30, 2)),
    ]


@pytest.mark.scenario("WL5")
@virtual_time
async def test_a_server_that_goes_on_to_what_happens_is_not_waited_for(clock: VirtualClock) -> None:
    """Live events do not put the wait off: the first one that is no ADDED tells that what is there is through."""
    busy = [step for number in range(400) for step in (1.0, event("MODIFIED", cm("p1", str(number + 2))))]
    transport = serving(clock, [added("p1", "1"), *busy], [added("p1", "1"), *busy], answers=[page("99")])
    async with reflecting(clock, transport):
        await clock.sleep(70)
    assert requests(transport)[:3] == [(0, "stream", ""), (31, "stream", ""), (62, "list", "0")]


@pytest.mark.scenario("WL5", "WL6")
@virtual_time
async def test_a_stream_that_takes_its_time_is_let_go_on(clock: VirtualClock, warnings: list[dict[str, Any]]) -> None:
    """A slow network is no missing end: while objects come, only the watch's own time bounds the wait."""
    slow = [step for number in range(20) for step in (10.5, added(f"p{number}", str(number + 1)))]
    transport = serving(clock, [*slow, end("99")])
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(220)
        assert (len(sink.held), sink.told) == (20, [("replace", "99")])
    assert (requests(transport), len(warnings)) == ([(0, "stream", "")], 21)


@pytest.mark.scenario("WL6")
@virtual_time
async def test_the_missing_end_is_warned_of_every_10_s_until_it_comes(
    clock: VirtualClock, warnings: list[dict[str, Any]]
) -> None:
    """TestInitialEventsEndBookmarkTicker: at 10 and 20 s, with what has come so far; not once it is there."""
    transport = serving(clock, [12.0, added("p1", "1"), 13.0, end("2")])
    async with reflecting(clock, transport):
        await clock.sleep(9.9)
        assert warnings == []
        await clock.sleep(300)
    assert warnings == [
        {"kind": "ConfigMap", "objects": 0, "seconds": 10},
        {"kind": "ConfigMap", "objects": 1, "seconds": 20},
    ]


@pytest.mark.scenario("WL6", "RF21")
@virtual_time
async def test_a_cancel_in_mid_stream_leaves_the_copy_as_it_was(
    clock: VirtualClock, warnings: list[dict[str, Any]]
) -> None:
    """The reflector won't be synced if only objects have been received; nothing is told, and no timer stays."""
    transport = serving(clock, Stream([end("10"), error(410, "Expired")]), [added("p1", "11"), 60.0, end("12")])
    async with reflecting(clock, transport) as (sink, _):
        await clock.sleep(5)
    await clock.sleep(100)
    assert (sink.told, warnings) == ([("replace", "10")], [])


@pytest.mark.scenario("WL7")
@virtual_time
async def test_no_version_of_a_synthetic_add_is_ever_asked_for(clock: VirtualClock) -> None:
    """TestWatchListResourceVersion: after a stream that broke off, the next one asks for no version again."""
    cut = Stream([added("p1", "500"), event("MODIFIED", cm("p2", "600")), bookmark(CONFIG_MAPS, "700")])
    transport = serving(clock, cut, Stream([added("p1", "500"), end("20")]), [])
    async with reflecting(clock, transport):
        await clock.sleep(0.5)
    assert requests(transport) == [(0, "stream", ""), (0, "stream", ""), (0, "watch", "20")]


@pytest.mark.scenario("WL3", "RF24")
@virtual_time
async def test_the_end_of_the_initial_events_is_a_bookmark_that_was_seen(clock: VirtualClock) -> None:
    """A server that sends it sends others each minute: 90 s of silence after it end the stream."""
    transport = serving(clock, [added("p1", "1"), 2.0, end("2")])
    async with reflecting(clock, transport):
        await clock.sleep(100)
    assert requests(transport) == [(0, "stream", ""), (92, "watch", "2")]


@pytest.mark.scenario("WL3", "RF8")
@virtual_time
async def test_a_sink_that_refuses_everything_is_asked_again_after_a_wait(clock: VirtualClock) -> None:
    """Its failure is no failure of the stream: no list follows, and the stream is closed."""

    class Late(Notes):
        def replace(self, objects: Sequence[Object], version: str) -> None:
            if version == "2":
                raise RuntimeError("not yet")
            super().replace(objects, version)

    transport = serving(clock, [end("2")], [end("3")])
    async with reflecting(clock, transport, Late()) as (sink, reflector):
        await clock.sleep(0.5)
        assert (transport.open_streams, str(reflector.last_error)) == (0, "not yet")
        await clock.sleep(1)
    assert requests(transport) == [(0, "stream", ""), (0.8, "stream", "")]
    assert sink.told == [("replace", "3")]


@pytest.mark.scenario("WL1")
@virtual_time
async def test_selectors_and_namespace_are_asked_for_in_the_stream_too(clock: VirtualClock) -> None:
    """The same objects, whichever way they come."""
    transport = serving(clock, [end("2")])
    scope = {"namespace": "models", "label_selector": "app=x", "field_selector": "metadata.name=y"}
    async with reflecting(clock, transport, **scope):
        await clock.sleep(0.5)
    call = transport.calls[0]
    assert call.path == "/api/v1/namespaces/models/configmaps"
    assert (call.query["labelSelector"], call.query["fieldSelector"]) == ("app=x", "metadata.name=y")
