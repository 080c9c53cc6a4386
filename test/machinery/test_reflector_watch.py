"""The reflector's watches: from which version, for how long, and what every way of ending leads to."""

from __future__ import annotations

import asyncio
import json
from random import Random

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.backoff import Backoff
from kaito_controller.machinery.errors import (
    ApiConnectionError,
    ApiConnectionLostError,
    ApiError,
    ApiTimeoutError,
)
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.reflecting import reflecting
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


def cm(name: str, version: str) -> Object:
    return obj(CONFIG_MAPS, name, version)


def page(version: str, *objects: Object) -> Object:
    return listing(CONFIG_MAPS, version, *objects)


def busy(retry_after_s: float | None = None) -> ApiError:
    return ApiError(429, "TooManyRequests", "come back later", None, retry_after_s)


def watched(transport: ScriptedTransport) -> list[tuple[float, str]]:
    """When each watch was opened, and from which version."""
    return [(round(call.at, 6), call.query.get("resourceVersion", "")) for call in transport.watches]


def listed(transport: ScriptedTransport) -> list[tuple[float, str]]:
    """When each list was asked for, and at which version."""
    return [(round(call.at, 6), call.query.get("resourceVersion", "")) for call in transport.lists]


@pytest.mark.scenario("RF9")
@pytest.mark.parametrize(("wanted", "least"), [(300, 300), (60, 300), (0, 300), (1800, 1800)])
@virtual_time
async def test_a_watch_is_asked_to_last_for_once_to_twice_the_least(
    clock: VirtualClock, wanted: int, least: int
) -> None:
    """TestWatchTimeout: whole seconds drawn from [300, 600); less than 300 is not heard, 1800 gives [1800, 3600)."""
    transport = ScriptedTransport(clock, [page("10")], [Stream([5.0])] * 200)
    async with reflecting(clock, transport, watch_list=False, min_watch_s=wanted):
        await clock.sleep(999)
    drawn = [int(call.query["timeoutSeconds"]) for call in transport.watches]
    assert (len(drawn), all(least <= seconds < 2 * least for seconds in drawn)) == (200, True)
    assert max(drawn) > 1.9 * least
    assert min(drawn) < 1.1 * least


@pytest.mark.scenario("RF9", "RF10", "RF17")
@virtual_time
async def test_a_watch_that_ends_is_opened_again_at_once_from_the_last_version(clock: VirtualClock) -> None:
    """No list, no wait, after an event or after a second; bookmarks move the version and change nothing."""
    streams = [
        Stream([event("ADDED", cm("a", "11")), bookmark(CONFIG_MAPS, "15")]),
        Stream([1.0]),
        Stream([5.0]),
        Stream(stays=True),
    ]
    transport = ScriptedTransport(clock, [page("10")], streams)
    async with reflecting(clock, transport, watch_list=False) as (sink, _):
        await clock.sleep(7)
    assert watched(transport) == [(0, "10"), (0, "15"), (1, "15"), (6, "15")]
    assert all(call.query["allowWatchBookmarks"] == "true" for call in transport.watches)
    assert len(transport.lists) == 1
    assert sink.told == [("replace", "10"), ("changed", "default/a"), ("bookmark", "15")]


@pytest.mark.scenario("RF17", "RF10", "FQ1")
@virtual_time
async def test_each_event_is_told_by_itself_in_its_order(clock: VirtualClock) -> None:
    """TestReflectorWatchHandler, TestReflectorResourceVersionUpdate: nothing of one key is merged; the version follows.

    After each event the stream breaks, and the next watch tells from which version it goes on.
    """
    kinds = [("ADDED", "20"), ("MODIFIED", "30"), ("BOOKMARK", "40"), ("DELETED", "50"), ("ADDED", "60")]
    transport = ScriptedTransport(clock, [page("10")], [Stream([event(kind, cm("a", at))]) for kind, at in kinds])
    async with reflecting(clock, transport, watch_list=False) as (sink, _):
        await clock.sleep(0.5)
    assert watched(transport) == [(0, version) for version in ("10", "20", "30", "40", "50", "60")]
    assert sink.told[1:] == [
        ("changed", "default/a"),
        ("changed", "default/a"),
        ("bookmark", "40"),
        ("deleted", "default/a"),
        ("changed", "default/a"),
    ]


@pytest.mark.scenario("RF11")
@pytest.mark.parametrize("ending", [Stream(), Stream([0.999]), Stream([ApiConnectionError("reset by peer")])])
@virtual_time
async def test_a_watch_that_ends_within_a_second_and_empty_waits_and_lists(clock: VirtualClock, ending: Stream) -> None:
    """TestReflectorHandleWatchResultChanClosedBefore: no hot loop against a server that closes everything."""
    lasted = sum(step for step in ending.steps if isinstance(step, float))
    transport = ScriptedTransport(clock, [page("10"), page("12")], [ending])
    async with reflecting(clock, transport, watch_list=False) as (_, reflector):
        await clock.sleep(lasted + 0.5)
        assert "at once, without an event" in str(reflector.last_error)
        await clock.sleep(3)
    assert listed(transport) == [(0, "0"), (round(lasted + 0.8, 6), "10")]


@pytest.mark.scenario("RF11", "RF16")
@virtual_time
async def test_foreign_objects_do_not_make_a_watch_worth_its_opening(clock: VirtualClock) -> None:
    """Skipped events do not count: a server that sends only those and closes would be a hot loop."""
    foreign = event("ADDED", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})
    transport = ScriptedTransport(clock, [page("10"), page("12")], [Stream([foreign])])
    async with reflecting(clock, transport, watch_list=False):
        await clock.sleep(3)
    assert listed(transport) == [(0, "0"), (0.8, "10")]


@pytest.mark.scenario("RF12", "RF19")
@pytest.mark.parametrize("failure", [busy(), refused()])
@virtual_time
async def test_a_watch_that_cannot_be_opened_now_waits_and_does_not_list(
    clock: VirtualClock, failure: Exception
) -> None:
    """TestNoRelistOnTooManyRequests: four times 429 or refused, then a stream: 1 list, 5 watches, one version."""
    transport = ScriptedTransport(clock, [page("10")], [failure] * 4 + [Stream(stays=True)])
    async with reflecting(clock, transport, watch_list=False) as (_, reflector):
        await clock.sleep(1)
        assert reflector.last_error is failure
        await clock.sleep(12)
        assert reflector.last_error is None
    assert watched(transport) == [(at, "10") for at in (0, 0.8, 2.4, 5.6, 12)]
    assert len(transport.lists) == 1


@pytest.mark.scenario("RF12", "RF19")
@pytest.mark.parametrize(("failures", "least", "most"), [(5, 0.031, 0.062), (40, 1.763, 3.526)])
@virtual_time
async def test_many_refusals_wait_up_to_the_cap(clock: VirtualClock, failures: int, least: float, most: float) -> None:
    """TestReflectorListAndWatchInitConnBackoff: 1 ms doubled up to 50 ms, each drawn from once to twice that."""
    backoff = Backoff(clock=clock, rng=Random(7), initial_s=0.001, cap_s=0.05, reset_after_s=100)
    transport = ScriptedTransport(clock, [page("10")], [refused()] * failures)
    async with reflecting(clock, transport, watch_list=False, backoff=backoff):
        await clock.sleep(10)
    waited = transport.watches[failures].at
    assert least <= waited < most


@pytest.mark.scenario("RF12", "RF14", "RF19")
@virtual_time
async def test_refusals_and_failed_lists_share_their_waits(clock: VirtualClock) -> None:
    """TestBackoffOnTooManyRequests: 429 when opening and 429 in the stream wait in turn; so does the relist after."""
    streams = [busy(), Stream([error(429, "TooManyRequests")]), Stream()]
    transport = ScriptedTransport(clock, [page("10"), page("20")], streams)
    async with reflecting(clock, transport, watch_list=False):
        await clock.sleep(10)
    assert watched(transport) == [(0, "10"), (0.8, "10"), (2.4, "10"), (5.6, "20")]
    assert listed(transport) == [(0, "0"), (5.6, "10")]


@pytest.mark.scenario("RF12")
@virtual_time
async def test_a_busy_server_may_ask_for_more_time(clock: VirtualClock) -> None:
    """Retry-After is waited out where it is longer than our own wait, but no more than a minute."""
    transport = ScriptedTransport(clock, [page("10")], [busy(0.1), busy(10), busy(86400)])
    async with reflecting(clock, transport, watch_list=False):
        await clock.sleep(100)
    assert [at for at, _ in watched(transport)] == [0, 0.8, 10.8, 70.8]


@pytest.mark.scenario("RF13", "RF8")
@pytest.mark.parametrize(
    "failure",
    [
        ApiError(403, "Forbidden"),
        ApiError(500, "InternalError"),
        ApiError(405, "MethodNotAllowed"),
        gone(),
        ApiConnectionError("name or service not known"),
    ],
    ids=str,
)
@virtual_time
async def test_any_other_refusal_of_a_watch_lists_again_after_a_wait(clock: VirtualClock, failure: Exception) -> None:
    """It is reported, and the list asks for the last version, also when that has expired."""
    transport = ScriptedTransport(clock, [page("10"), page("20")], [failure])
    async with reflecting(clock, transport, watch_list=False) as (sink, reflector):
        await clock.sleep(0.5)
        assert reflector.last_error is failure
        await clock.sleep(3)
    assert listed(transport) == [(0, "0"), (0.8, "10")]
    assert sink.told == [("replace", "10"), ("replace", "20")]


@pytest.mark.scenario("RF13")
@pytest.mark.parametrize("failure", [ApiConnectionLostError("EOF"), ApiTimeoutError("no answer in time")])
@virtual_time
async def test_a_connection_that_breaks_while_opening_is_an_empty_watch(
    clock: VirtualClock, failure: Exception
) -> None:
    """At once it is a very short watch; after a second it is an end like any other, and watched again."""
    transport = ScriptedTransport(clock, [page("10"), page("20")], [failure])
    async with reflecting(clock, transport, watch_list=False) as (_, reflector):
        await clock.sleep(0.5)
        assert "at once, without an event" in str(reflector.last_error)
        await clock.sleep(3)
    assert listed(transport) == [(0, "0"), (0.8, "10")]


@pytest.mark.scenario("RF13", "RF22")
@virtual_time
async def test_a_watch_that_is_never_answered_is_opened_again(clock: VirtualClock) -> None:
    """A server that accepts and says nothing: given up 30 s after the time that the watch was to last."""

    class Mute(ScriptedTransport):
        def stream(self, *args, **kwargs):
            stream = super().stream(*args, **kwargs)

            class Opening:
                async def __aenter__(self):
                    await stream.__aenter__()
                    try:
                        await asyncio.Event().wait()
                    finally:
                        await stream.__aexit__(None, None, None)

                async def __aexit__(self, *_: object) -> None:
                    raise AssertionError("it was never entered")

            return Opening()

    transport = Mute(clock, [page("10")])
    async with reflecting(clock, transport, watch_list=False):
        await clock.sleep(1000)
    overdue = int(transport.watches[0].query["timeoutSeconds"]) + 30
    assert watched(transport)[:2] == [(0, "10"), (overdue, "10")]


@pytest.mark.scenario("RF14")
@virtual_time
async def test_a_watch_too_far_behind_lists_at_the_last_version(clock: VirtualClock) -> None:
    """In-stream 410: the list's answer is no older than that version anyway, so nothing is asked of etcd."""
    streams = [Stream([event("MODIFIED", cm("a", "11")), error(410, "Expired", "too old resource version: 11 (99)")])]
    transport = ScriptedTransport(clock, [page("10"), page("99")], streams)
    async with reflecting(clock, transport, watch_list=False) as (_, reflector):
        await clock.sleep(0.5)
        assert reflector.last_error is None
        await clock.sleep(3)
    assert listed(transport) == [(0, "0"), (0.8, "11")]


@pytest.mark.scenario("RF14")
@virtual_time
async def test_429_in_the_stream_waits_and_does_not_list(clock: VirtualClock) -> None:
    """The version is still good."""
    streams = [Stream([event("ADDED", cm("b", "11")), error(429, "TooManyRequests")])]
    transport = ScriptedTransport(clock, [page("10")], streams)
    async with reflecting(clock, transport, watch_list=False):
        await clock.sleep(3)
    assert (len(transport.lists), watched(transport)) == (1, [(0, "10"), (0.8, "11")])


@pytest.mark.scenario("RF14")
@pytest.mark.parametrize(
    ("window_s", "pause_before", "retries"),
    [(0, None, 0), (30, None, 31), (30, 10, 40)],
    ids=["off", "all fail", "a quiet minute"],
)
@virtual_time
async def test_internal_errors_are_watched_through_for_a_time(
    clock: VirtualClock, window_s: float, pause_before: int | None, retries: int
) -> None:
    """TestRetryInternalError: an error a second; 30 s allow 31 more watches, and a minute without one starts anew."""
    failing = [Stream([1.0, error(500, "InternalError", "etcdserver: no leader")]) for _ in range(60)]
    if pause_before is not None:
        failing[pause_before - 1].steps.insert(0, 60.0)
    transport = ScriptedTransport(clock, [page("1")] * 9, failing)
    async with reflecting(clock, transport, watch_list=False, internal_error_retry_s=window_s):
        while len(transport.lists) < 2:
            await clock.sleep(0.5)
        watches = len([call for call in transport.watches if call.at < transport.lists[1].at])
    assert watches - 1 == retries


@pytest.mark.scenario("RF14")
@virtual_time
async def test_an_error_in_the_stream_lists_again_and_finds_what_no_event_named(clock: VirtualClock) -> None:
    """TestReflectorReplacesStoreOnUnsafeDelete: a corrupt object was removed; until the new list it is still held."""
    unread = error(500, "StoreReadError", "corrupt object has been deleted")
    streams = [Stream([event("ADDED", cm("foo", "4")), unread])]
    kept = [cm("foo-1", "1"), cm("foo-2", "2"), cm("foo-3", "3")]
    transport = ScriptedTransport(clock, [page("3", *kept), page("5", *kept)], streams)
    async with reflecting(clock, transport, watch_list=False, internal_error_retry_s=30) as (sink, reflector):
        await clock.sleep(0.5)
        assert "default/foo" in sink.held
        assert "StoreReadError" in str(reflector.last_error)
        await clock.sleep(3)
        assert set(sink.held) == {"default/foo-1", "default/foo-2", "default/foo-3"}
        assert reflector.last_error is None
    assert listed(transport) == [(0, "0"), (0.8, "4")]


@pytest.mark.scenario("RF14")
@pytest.mark.parametrize("status", [None, 5, {}, {"code": "x", "details": [], "reason": 7}, {"details": {"causes": 1}}])
@virtual_time
async def test_an_error_event_of_any_shape_lists_again(clock: VirtualClock, status: object) -> None:
    """Bad input: what follows ERROR need not be a Status."""
    line = json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"
    transport = ScriptedTransport(clock, [page("10"), page("20")], [Stream([line])])
    async with reflecting(clock, transport, watch_list=False):
        await clock.sleep(3)
    assert listed(transport) == [(0, "0"), (0.8, "10")]


GARBAGE = [
    b"<html>502 bad gateway</html>\n",
    b"{}\n",
    b"null\n",
    b"[1]\n",
    b'{"type":"ADDED"}\n',
    b'{"object":{}}\n',
    event("ADDED", cm("a", "11"))[:-9] + b"\n",
    b'{"type":"ADDED","object":"\xff\xfe"}\n',
    b'{"type":"ADDED","object":"\\ud800"}\n',
    b"[" * 100_000 + b"\n",
]


@pytest.mark.scenario("RF15")
@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda line: repr(line[:24]))
@virtual_time
async def test_a_frame_that_is_no_event_is_an_internal_error_of_the_stream(clock: VirtualClock, garbage: bytes) -> None:
    """ClientWatchDecoding: reported, everything is listed again, and nothing of it becomes an object."""
    transport = ScriptedTransport(clock, [page("10"), page("12")], [Stream([garbage])])
    async with reflecting(clock, transport, watch_list=False) as (sink, reflector):
        await clock.sleep(0.5)
        assert "500 InternalError: ClientWatchDecoding" in str(reflector.last_error)
        await clock.sleep(3)
    assert sink.told == [("replace", "10"), ("replace", "12")]
    assert listed(transport) == [(0, "0"), (0.8, "10")]


@pytest.mark.scenario("RF15", "RF14")
@virtual_time
async def test_a_frame_that_is_no_event_is_watched_through_like_an_internal_error(clock: VirtualClock) -> None:
    """Within the time that internal errors are given, the watch goes on from the last good event."""
    streams = [Stream([event("ADDED", cm("a", "11")), b"<html>\n"])]
    transport = ScriptedTransport(clock, [page("10")], streams)
    async with reflecting(clock, transport, watch_list=False, internal_error_retry_s=30):
        await clock.sleep(3)
    assert (watched(transport), len(transport.lists)) == ([(0, "10"), (0, "11")], 1)


@pytest.mark.scenario("RF15")
@pytest.mark.parametrize(
    "ending",
    [[], [ApiConnectionError("reset by peer")], [ApiTimeoutError("read")], [event("ADDED", cm("b", "12"))[:-5]]],
    ids=["eof", "reset", "read timeout", "eof within a line"],
)
@virtual_time
async def test_a_connection_that_breaks_is_an_end_like_any_other(clock: VirtualClock, ending: list) -> None:
    """After an event it is followed by a new watch at once, without a list; half a line is forgotten."""
    transport = ScriptedTransport(clock, [page("10")], [Stream([event("ADDED", cm("a", "11")), *ending])])
    async with reflecting(clock, transport, watch_list=False) as (sink, reflector):
        await clock.sleep(0.5)
        assert reflector.last_error is None
    assert watched(transport) == [(0, "10"), (0, "11")]
    assert (len(transport.lists), sink.told) == (1, [("replace", "10"), ("changed", "default/a")])


SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "resourceVersion": "99"}}
UNFIT = [
    SECRET,
    SECRET | {"kind": "ConfigMap", "apiVersion": "v2"},
    {"apiVersion": "meta.k8s.io/v1", "kind": "Table", "metadata": {"resourceVersion": "99"}, "rows": []},
    {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "s"}},
    {"apiVersion": "v1", "kind": "ConfigMap"},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": None},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": ["x"]},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"resourceVersion": "99"}},
    {"metadata": {"name": "s", "resourceVersion": "99"}},
    None,
    7,
    "text",
    [],
]


@pytest.mark.scenario("RF16")
@pytest.mark.parametrize("unfit", UNFIT, ids=lambda item: repr(item)[:60])
@virtual_time
async def test_what_is_no_object_of_the_kind_is_skipped(clock: VirtualClock, unfit: object) -> None:
    """Another kind or version of it, a Table, no metadata, no object: the version stays, and the stream goes on."""
    lines = [json.dumps({"type": kind, "object": unfit}).encode() + b"\n" for kind in ("ADDED", "MODIFIED", "DELETED")]
    streams = [Stream([event("ADDED", cm("a", "11")), *lines, 2.0]), Stream([event("ADDED", cm("b", "12"))])]
    transport = ScriptedTransport(clock, [page("10")], streams)
    async with reflecting(clock, transport, watch_list=False) as (sink, reflector):
        await clock.sleep(3)
        assert reflector.last_error is None
    assert watched(transport)[1] == (2, "11")
    assert sink.told == [("replace", "10"), ("changed", "default/a"), ("changed", "default/b")]


@pytest.mark.scenario("RF16")
@virtual_time
async def test_an_event_of_unknown_type_only_moves_the_version(clock: VirtualClock) -> None:
    """It may be one that a later server sends; the types that we know keep their order around it."""
    transport = ScriptedTransport(clock, [page("10")], [Stream([event("RENAMED", cm("x", "12"))])])
    async with reflecting(clock, transport, watch_list=False) as (sink, _):
        await clock.sleep(0.5)
    assert (sink.told, watched(transport)) == ([("replace", "10")], [(0, "10"), (0, "12")])


@pytest.mark.scenario("RF16")
@virtual_time
async def test_an_object_without_a_version_is_told_and_moves_nothing(clock: VirtualClock) -> None:
    """An empty version would make the next watch begin anew, from anywhere; an empty bookmark tells nothing."""
    bare = cm("a", "")
    transport = ScriptedTransport(clock, [page("10")], [Stream([event("ADDED", bare), bookmark(CONFIG_MAPS, "")])])
    async with reflecting(clock, transport, watch_list=False) as (sink, _):
        await clock.sleep(0.5)
    assert sink.told == [("replace", "10"), ("changed", "default/a")]
    assert watched(transport) == [(0, "10"), (0, "10")]


@pytest.mark.scenario("RF18")
@pytest.mark.parametrize("version", ["", "0"])
@pytest.mark.parametrize("kind", ["MODIFIED", "DELETED", "BOOKMARK"])
@virtual_time
async def test_versions_of_synthetic_adds_are_not_gone_on_from(clock: VirtualClock, version: str, kind: str) -> None:
    """A watch from no version begins with what is there, in any order: the first other event ends that."""
    adds = [event("ADDED", cm("a", "90")), event("ADDED", cm("b", "20"))]
    streams = [
        Stream(adds),
        Stream([*adds, event(kind, cm("b", "91"))]),
        Stream([event("ADDED", cm("c", "92"))]),
    ]
    transport = ScriptedTransport(clock, [page(version)], streams)
    async with reflecting(clock, transport, watch_list=False):
        await clock.sleep(0.5)
    assert watched(transport) == [(0, version), (0, version), (0, "91"), (0, "92")]
    assert ("resourceVersion" in transport.watches[0].query) == bool(version)


@pytest.mark.scenario("RF21")
@virtual_time
async def test_a_cancel_during_a_watch_closes_it_once_and_leaves_nothing(clock: VirtualClock) -> None:
    """TestReflectorWatchStoppedAfter, TestRunUntil: no task and no timer stay, and nothing more is asked."""
    transport = ScriptedTransport(clock, [page("10")], [Stream([1.0, event("ADDED", cm("a", "11"))], stays=True)])
    async with reflecting(clock, transport, watch_list=False) as (sink, _):
        await clock.sleep(0.5)
        assert transport.open_streams == 1
    assert transport.open_streams == 0
    await clock.sleep(1000)
    assert (len(transport.calls), sink.told) == (2, [("replace", "10")])


@pytest.mark.scenario("RF21")
@pytest.mark.parametrize("instant", [0.3, 1.5])
@virtual_time
async def test_a_cancel_during_a_wait_ends_it(clock: VirtualClock, instant: float) -> None:
    """TestReflectorStopWatch: neither the wait of a refused watch nor that before a list goes on."""
    transport = ScriptedTransport(clock, [page("10")], [refused(), Stream()])
    async with reflecting(clock, transport, watch_list=False):
        await clock.sleep(instant)
    made = len(transport.calls)
    await clock.sleep(100)
    assert len(transport.calls) == made


@pytest.mark.scenario("RF21", "RF14")
@virtual_time
async def test_an_error_in_the_stream_closes_it_before_the_next_one_is_opened(clock: VirtualClock) -> None:
    """TestCloseWatchChannelOnError: connections do not pile up behind a server that fails."""
    open_at: list[int] = []

    class Counting(ScriptedTransport):
        def stream(self, *args, **kwargs):
            open_at.append(self.open_streams)
            return super().stream(*args, **kwargs)

    added = event("ADDED", cm("a", "11"))
    endings = [error(500, "InternalError"), error(429, "TooManyRequests"), error(410, "Expired"), b"<html>\n"]
    transport = Counting(clock, [page("10")] * 5, [Stream([added, ending, added]) for ending in endings])
    async with reflecting(clock, transport, watch_list=False):
        await clock.sleep(20)
    assert open_at == [0] * 5


@pytest.mark.scenario("RF22")
@virtual_time
async def test_a_watch_that_the_server_does_not_end_is_left_30_s_after_its_time(clock: VirtualClock) -> None:
    """Whatever still comes in: here an event every 20 s for ever."""
    steps = [step for number in range(100) for step in (20.0, event("MODIFIED", cm("a", str(11 + number))))]
    transport = ScriptedTransport(clock, [page("10")], [Stream(steps)])
    async with reflecting(clock, transport, watch_list=False):
        await clock.sleep(1000)
    overdue = int(transport.watches[0].query["timeoutSeconds"]) + 30
    assert watched(transport)[1] == (overdue, str(10 + overdue // 20))
    assert len(transport.lists) == 1


@pytest.mark.scenario("RF24")
@virtual_time
async def test_a_stream_gone_silent_is_left_after_90_s_once_a_bookmark_was_seen(clock: VirtualClock) -> None:
    """A dead connection is noticed by its silence, and watched again from the last version; events put it off."""
    streams = [
        Stream([30.0, bookmark(CONFIG_MAPS, "17"), 89.0, event("ADDED", cm("a", "18")), 89.0, b"\n"], stays=True),
        Stream(stays=True),
    ]
    transport = ScriptedTransport(clock, [page("10")], streams)
    async with reflecting(clock, transport, watch_list=False):
        await clock.sleep(400)
    # Any byte counts, and so does the next watch from its opening: a server that sent bookmarks once still does.
    assert watched(transport) == [(0, "10"), (298, "18"), (388, "18")]
    assert len(transport.lists) == 1


@pytest.mark.scenario("RF24", "RF22")
@virtual_time
async def test_a_server_without_bookmarks_may_be_silent_until_the_watch_is_overdue(clock: VirtualClock) -> None:
    """Aggregated servers send none: only the watch's own time plus 30 s ends such a stream."""
    transport = ScriptedTransport(clock, [page("10")], [Stream([1.0, event("ADDED", cm("a", "11"))], stays=True)])
    async with reflecting(clock, transport, watch_list=False):
        await clock.sleep(1000)
    overdue = int(transport.watches[0].query["timeoutSeconds"]) + 30
    assert watched(transport)[1] == (overdue, "11")
