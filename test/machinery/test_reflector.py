"""The reflector's lists: what it asks the server, and how it goes on after every kind of failure."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object, key
from kaito_controller.machinery.backoff import Backoff
from kaito_controller.machinery.errors import ApiConnectionError, ApiError, is_too_large_resource_version
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.rest.retry import is_worth_another_try
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.reflecting import Notes, reflecting
from kaito_controller.testing.transport import ScriptedTransport, Stream, bookmark, error, event, gone, listing, obj

BROKEN = error(410, "Expired")
"""Ends a watch so that everything is read again, after the first wait."""


def cm(name: str, version: str) -> Object:
    return obj(CONFIG_MAPS, name, version)


def page(version: str, *objects: Object, next_page: str = "") -> Object:
    return listing(CONFIG_MAPS, version, *objects, next_page=next_page)


def asked(transport: ScriptedTransport) -> list[dict[str, str]]:
    """The parameters of each list."""
    return [dict(call.query) for call in transport.lists]


def instants(transport: ScriptedTransport) -> list[float]:
    return [round(call.at, 6) for call in transport.lists]


@pytest.mark.scenario("RF1", "RF7", "RF9")
@virtual_time
async def test_the_first_list_is_served_by_the_watch_cache(clock: VirtualClock) -> None:
    """RV 0 with limit 500 in one body, one replace, then a watch from the list's version."""
    transport = ScriptedTransport(clock, [page("10", cm("a", "4"))])
    async with reflecting(clock, transport, watch_list=False) as (sink, _):
        await clock.sleep(1)
    assert [(call.at, call.query) for call in transport.lists] == [(0, {"resourceVersion": "0", "limit": "500"})]
    watch = dict(transport.watches[0].query)
    assert 300 <= int(watch.pop("timeoutSeconds")) <= 600
    assert watch == {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": "10"}
    assert (sink.told, sink.held) == ([("replace", "10")], {"default/a": "4"})


@pytest.mark.scenario("RF2")
@virtual_time
async def test_a_relist_asks_for_the_last_version_without_a_limit(clock: VirtualClock) -> None:
    """TestReflectorNotPaginatingNotConsistentReads: the watch cache serves a version only without a limit."""
    streams = [Stream([event("ADDED", cm("a", "11")), BROKEN])]
    transport = ScriptedTransport(clock, [page("10"), page("20", cm("a", "11"))], streams)
    async with reflecting(clock, transport, watch_list=False) as (sink, _):
        await clock.sleep(5)
    assert asked(transport) == [{"resourceVersion": "0", "limit": "500"}, {"resourceVersion": "11"}]
    assert transport.watches[1].query["resourceVersion"] == "20"
    assert sink.told == [("replace", "10"), ("changed", "default/a"), ("replace", "20")]


@pytest.mark.scenario("RF2", "RF3")
@virtual_time
async def test_a_server_that_paginates_at_version_0_is_asked_for_pages_ever_after(clock: VirtualClock) -> None:
    """TestReflectorPaginatingNonConsistentReadsIfWatchCacheDisabled: it has no watch cache, so the limit stays on."""
    answers = [page("10", next_page="C1"), page("10"), page("11"), page("12")]
    transport = ScriptedTransport(clock, answers, [Stream([BROKEN]), Stream([BROKEN])])
    async with reflecting(clock, transport, watch_list=False):
        await clock.sleep(5)
    assert asked(transport) == [
        {"resourceVersion": "0", "limit": "500"},
        {"limit": "500", "continue": "C1"},
        {"resourceVersion": "10", "limit": "500"},
        {"resourceVersion": "11", "limit": "500"},
    ]


@pytest.mark.scenario("RF2", "RF5")
@virtual_time
async def test_pages_of_a_quorum_read_say_nothing_about_the_watch_cache(clock: VirtualClock) -> None:
    """Only RV 0 tells: after a paginated list at no version the next one is asked for in one piece again."""
    answers = [gone(), page("10", next_page="C1"), page("10"), page("12")]
    transport = ScriptedTransport(clock, answers, [Stream([BROKEN])])
    async with reflecting(clock, transport, watch_list=False):
        await clock.sleep(5)
    assert asked(transport)[-1] == {"resourceVersion": "10"}


@pytest.mark.scenario("RF2", "RF3")
@virtual_time
async def test_a_configured_page_size_holds_for_every_list(clock: VirtualClock) -> None:
    """TestReflectorWatchListPageSize: 4 a page, also at a version; three pages make ten objects and one replace."""
    items = [cm(f"c{number}", str(number + 1)) for number in range(10)]
    pages = [page("10", *items[:4], next_page="C1"), page("10", *items[4:8], next_page="C2"), page("10", *items[8:])]
    transport = ScriptedTransport(clock, [page("10"), *pages], [Stream([BROKEN])])
    async with reflecting(clock, transport, watch_list=False, page_size=4) as (sink, _):
        await clock.sleep(5)
    assert asked(transport) == [
        {"resourceVersion": "0", "limit": "4"},
        {"resourceVersion": "10", "limit": "4"},
        {"limit": "4", "continue": "C1"},
        {"limit": "4", "continue": "C2"},
    ]
    assert (sink.told, len(sink.held)) == ([("replace", "10"), ("replace", "10")], 10)


@pytest.mark.scenario("RF3", "RF7")
@virtual_time
async def test_pages_carry_the_token_and_no_version(clock: VirtualClock) -> None:
    """The version of the whole is that of page 1, and the sink hears of it once."""
    transport = ScriptedTransport(clock, [page("10", cm("a", "1"), next_page="t"), page("15", cm("b", "2"))])
    async with reflecting(clock, transport, watch_list=False) as (sink, _):
        await clock.sleep(1)
    assert asked(transport)[1] == {"limit": "500", "continue": "t"}
    assert (sink.told, set(sink.held)) == ([("replace", "10")], {"default/a", "default/b"})
    assert transport.watches[0].query["resourceVersion"] == "10"


@pytest.mark.scenario("RF4")
@virtual_time
async def test_an_expired_page_makes_one_whole_list_at_the_version_first_asked_for(clock: VirtualClock) -> None:
    """TestReflectorFullListIfExpired: no limit, no token; what the pages brought so far is dropped."""
    later = [page("11", cm("gone", "1"), next_page="C1"), gone(), page("12", cm("a", "1"))]
    transport = ScriptedTransport(clock, [page("10"), *later], [Stream([BROKEN])])
    async with reflecting(clock, transport, watch_list=False, page_size=4) as (sink, _):
        await clock.sleep(5)
    assert asked(transport) == [
        {"resourceVersion": "0", "limit": "4"},
        {"resourceVersion": "10", "limit": "4"},
        {"limit": "4", "continue": "C1"},
        {"resourceVersion": "10"},
    ]
    assert (sink.told, set(sink.held)) == ([("replace", "10"), ("replace", "12")], {"default/a"})


@pytest.mark.scenario("RF3", "RF8")
@virtual_time
async def test_another_error_on_a_later_page_goes_up(clock: VirtualClock) -> None:
    """The pages so far are dropped, and the whole list is tried again after the first wait."""
    answers = [page("10", cm("a", "1"), next_page="t"), ApiError(500, "InternalError"), page("12")]
    transport = ScriptedTransport(clock, answers)
    async with reflecting(clock, transport, watch_list=False) as (sink, _):
        await clock.sleep(5)
    assert instants(transport) == [0, 0, 0.8]
    assert sink.told == [("replace", "12")]


TOO_LARGE = [
    ApiError(504, "Timeout", "too large resource version", {"causes": [{"reason": "ResourceVersionTooLarge"}]}),
    ApiError(504, "Timeout", "", {"causes": [{"message": "Too large resource version"}]}),
    ApiError(504, "Timeout", "Too large resource version: 99, current: 7"),
]


@pytest.mark.parametrize("failure", [gone(), ApiError(410, "Gone"), ApiError(500, "Expired"), *TOO_LARGE])
@pytest.mark.scenario("RF5", "RF6")
@virtual_time
async def test_a_version_that_the_server_does_not_have_is_read_by_quorum_at_once(
    clock: VirtualClock, failure: ApiError
) -> None:
    """TestReflectorExpiredExactResourceVersion, TestReflectorFullListIfTooLarge: no version, no wait, same limit."""
    transport = ScriptedTransport(clock, [page("10"), failure, page("11", cm("a", "11"))], [Stream([BROKEN])])
    async with reflecting(clock, transport, watch_list=False) as (sink, _):
        await clock.sleep(5)
    assert asked(transport) == [{"resourceVersion": "0", "limit": "500"}, {"resourceVersion": "10"}, {}]
    assert instants(transport) == [0, 0.8, 0.8]
    assert sink.told == [("replace", "10"), ("replace", "11")]


@pytest.mark.scenario("RF6")
@pytest.mark.parametrize(
    "other",
    [
        ApiError(504, "Timeout", "the request timed out"),
        ApiError(500, "InternalError", "Too large resource version"),
        ApiError(504, "Timeout", "", {"causes": [None, "x", {"reason": "FieldValueInvalid"}]}),
        ApiError(504, "Timeout", "", {"causes": {"reason": "ResourceVersionTooLarge"}}),
        ValueError("Too large resource version"),
    ],
)
def test_other_failures_are_not_taken_for_a_version_too_large(other: Exception) -> None:
    """Neither the reason nor the words alone do, and causes of any shape are borne."""
    assert not is_too_large_resource_version(other)


@pytest.mark.scenario("RF5")
@pytest.mark.parametrize("failure", TOO_LARGE)
def test_a_version_from_the_future_is_not_asked_for_again_below_the_reflector(failure: ApiError) -> None:
    """Servers add Retry-After to it; eleven tries of 3 s each would stand before the read that helps."""
    asked = ApiError(failure.status, failure.reason, failure.message, failure.details, 1)
    assert not is_worth_another_try("GET", asked)
    assert is_worth_another_try("GET", ApiError(504, "Timeout", "slow", None, 1))


@pytest.mark.scenario("RF5")
@virtual_time
async def test_a_quorum_read_goes_on_being_asked_for_until_something_succeeds(clock: VirtualClock) -> None:
    """The mark stays while lists fail, and any success clears it: the next relist is at a version again."""
    answers = [page("10"), gone(), ApiError(500, "InternalError"), page("20"), page("30")]
    transport = ScriptedTransport(clock, answers, [Stream([BROKEN]), Stream([BROKEN])])
    async with reflecting(clock, transport, watch_list=False):
        await clock.sleep(8)
    assert asked(transport) == [
        {"resourceVersion": "0", "limit": "500"},
        {"resourceVersion": "10"},
        {},
        {"limit": "500"},
        {"resourceVersion": "20"},
    ]


@pytest.mark.scenario("RF5")
@virtual_time
async def test_a_server_that_calls_every_version_expired_is_not_hammered(clock: VirtualClock) -> None:
    """At most two lists at once, then a wait."""
    transport = ScriptedTransport(clock, [gone()] * 6)
    async with reflecting(clock, transport, watch_list=False):
        await clock.sleep(2.5)
    assert instants(transport) == [0, 0, 0.8, 0.8, 2.4, 2.4]


@pytest.mark.scenario("RF5", "RF2")
@virtual_time
async def test_versions_never_go_back_between_lists(clock: VirtualClock) -> None:
    """TestReflectorResyncWithResourceVersion: each relist asks for no less than what was seen, by whatever means."""
    streams = [Stream([bookmark(CONFIG_MAPS, "15"), BROKEN]), Stream([event("DELETED", cm("a", "25")), BROKEN])]
    transport = ScriptedTransport(clock, [page("10"), page("20"), page("30")], streams)
    async with reflecting(clock, transport, watch_list=False):
        await clock.sleep(5)
    assert [query["resourceVersion"] for query in asked(transport)] == ["0", "15", "25"]


@pytest.mark.parametrize(
    "answer",
    [
        {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "9"}, "rows": []},
        {"kind": "Status", "apiVersion": "v1", "status": "Success"},
        {},
        [],
        {"kind": "ConfigMapList", "metadata": {"resourceVersion": "9"}, "items": {"a": 1}},
    ],
    ids=["table", "status", "nothing", "array", "map"],
)
@pytest.mark.scenario("RF7")
@virtual_time
async def test_what_is_no_list_is_not_taken_for_an_empty_one(clock: VirtualClock, answer: Object) -> None:
    """TestIsUnsupportedTableObject: a cache emptied by mistake would have everything deleted behind it."""
    transport = ScriptedTransport(clock, [page("10", cm("a", "1")), answer, page("12")], [Stream([BROKEN])])
    async with reflecting(clock, transport, watch_list=False) as (sink, reflector):
        await clock.sleep(1)
        assert "instead of a list" in str(reflector.last_error)
        assert sink.held == {"default/a": "1"}
        await clock.sleep(5)
    assert sink.told == [("replace", "10"), ("replace", "12")]


@virtual_time
async def test_a_list_of_null_items_is_empty(clock: VirtualClock) -> None:
    """Go writes null for an empty slice."""
    transport = ScriptedTransport(clock, [page("10", cm("a", "1")) | {"items": None}])
    async with reflecting(clock, transport, watch_list=False) as (sink, _):
        await clock.sleep(1)
    assert (sink.told, sink.held) == ([("replace", "10")], {})


@virtual_time
async def test_what_is_no_object_in_a_list_is_left_out(clock: VirtualClock) -> None:
    """Bad input: null, a number, no metadata, no name, another kind; the rest of the list counts."""
    other = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    junk = [None, 5, "x", [], {}, {"metadata": None}, {"metadata": []}, {"metadata": {}}, other]
    answer = page("10", cm("a", "1"), cm("b", "2"))
    answer["items"][1:1] = junk
    del answer["items"][0]["kind"], answer["items"][0]["apiVersion"]
    transport = ScriptedTransport(clock, [answer])
    async with reflecting(clock, transport, watch_list=False) as (sink, _):
        await clock.sleep(1)
    assert (sink.told, set(sink.held)) == ([("replace", "10")], {"default/a", "default/b"})


@pytest.mark.scenario("RF8", "RF19")
@virtual_time
async def test_a_failed_list_is_tried_again_with_growing_waits(clock: VirtualClock) -> None:
    """The error is reported once per try; the first try is at once, then 0.8 s x 2 up to 30 s after each has ended."""
    failures = [ApiError(500, "InternalError", "etcd is away")] * 7
    transport = ScriptedTransport(clock, [*failures, page("7")])
    async with reflecting(clock, transport, watch_list=False) as (sink, reflector):
        await clock.sleep(0.1)
        assert "etcd is away" in str(reflector.last_error)
        await clock.sleep(200)
        assert reflector.last_error is None
    waits = [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]
    assert instants(transport) == [round(sum(waits[:number]), 6) for number in range(8)]
    assert sink.told == [("replace", "7")]


@pytest.mark.scenario("RF19")
@pytest.mark.parametrize("seed", range(5))
@virtual_time
async def test_waits_are_drawn_from_once_to_twice_their_base(clock: VirtualClock, seed: int) -> None:
    """[0.8, 1.6), [1.6, 3.2) ... [30, 60), and never the same for two reflectors."""
    transport = ScriptedTransport(clock, [ApiError(500, "InternalError")] * 7 + [page("7")])
    async with reflecting(clock, transport, watch_list=False, backoff=None, rng=Random(seed)):
        await clock.sleep(120)
    waits = [later - earlier for earlier, later in pairwise(instants(transport))]
    floors = [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]
    assert [floor <= wait < 2 * floor for floor, wait in zip(floors, waits, strict=False)] == [True] * len(waits)
    assert len(waits) >= 5
    assert waits[0] != 0.8


@pytest.mark.scenario("RF19")
@virtual_time
async def test_waits_start_over_two_minutes_after_they_last_did(clock: VirtualClock) -> None:
    """Two quiet minutes later a failure is a first one again; before that the waits go on growing."""
    answers = [ApiError(500, "InternalError")] * 3 + [page("10"), page("20"), page("30")]
    streams = [Stream([60.0, BROKEN]), Stream([300.0, BROKEN])]
    transport = ScriptedTransport(clock, answers, streams)
    async with reflecting(clock, transport, watch_list=False):
        await clock.sleep(500)
    # 0.8 + 1.6 + 3.2 s of failures, 60 s of watch and the fourth wait; then 300 s and the first wait again.
    assert instants(transport) == [0, 0.8, 2.4, 5.6, 5.6 + 60 + 6.4, 72 + 300 + 0.8]


@pytest.mark.scenario("RF19")
@virtual_time
async def test_a_custom_backoff_sets_the_waits(clock: VirtualClock) -> None:
    """TestNewReflectorWithCustomBackoff: 10 + 20 + 40 + 80 + 100 ms without jitter make 250 ms of five failures."""
    backoff = Backoff(clock=clock, rng=Random(1), initial_s=0.01, cap_s=0.1, jitter=0)
    transport = ScriptedTransport(clock, [ApiConnectionError("refused")] * 5 + [page("7")])
    async with reflecting(clock, transport, watch_list=False, backoff=backoff):
        await clock.sleep(1)
    assert instants(transport)[-1] == 0.25


@pytest.mark.scenario("RF7", "RF21")
@virtual_time
async def test_a_cancel_during_the_list_replaces_nothing(clock: VirtualClock) -> None:
    """TestReflectorWatchStoppedBefore: no replace, no error, no watch."""
    transport = ScriptedTransport(clock, [page("10")])
    async with reflecting(clock, transport, watch_list=False) as (sink, reflector):
        await asyncio.sleep(0)
    assert (sink.told, reflector.last_error, transport.watches) == ([], None, [])


@pytest.mark.scenario("RF8")
@virtual_time
async def test_a_defect_in_a_sink_does_not_end_the_reflector(clock: VirtualClock) -> None:
    """No failure but its cancel ends it: after an exception of the sink everything is read again."""

    class Brittle(Notes):
        def changed(self, obj: Object) -> None:
            raise TimeoutError(f"cannot take {key(obj)}")

    transport = ScriptedTransport(clock, [page("10"), page("20")], [Stream([event("ADDED", cm("a", "11"))])])
    async with reflecting(clock, transport, Brittle(), watch_list=False) as (sink, reflector):
        await clock.sleep(0.5)
        assert "cannot take default/a" in str(reflector.last_error)
        await clock.sleep(3)
    assert sink.told == [("replace", "10"), ("replace", "20")]


@pytest.mark.scenario("RF7")
@virtual_time
async def test_a_list_that_the_sink_refuses_does_not_move_the_version(clock: VirtualClock) -> None:
    """The next list asks for what the first did, since nothing of it was kept."""

    class Late(Notes):
        def replace(self, objects: Sequence[Object], version: str) -> None:
            if version == "10":
                raise RuntimeError("not yet")
            super().replace(objects, version)

    transport = ScriptedTransport(clock, [page("10"), page("20")])
    async with reflecting(clock, transport, Late(), watch_list=False) as (sink, _):
        await clock.sleep(3)
    assert [query["resourceVersion"] for query in asked(transport)] == ["0", "0"]
    assert sink.told == [("replace", "20")]


@virtual_time
async def test_lists_and_watches_are_counted(clock: VirtualClock) -> None:
    """`reflector_lists_total` and `reflector_watches_total`, by kind; a list of several pages is one."""
    metrics = Metrics()
    transport = ScriptedTransport(clock, [page("10", next_page="t"), page("10")], [Stream([5.0])])
    async with reflecting(clock, transport, watch_list=False, metrics=metrics):
        await clock.sleep(6)
    values = [
        metrics.registry.get_sample_value(f"reflector_{what}_total", {"name": "ConfigMap"})
        for what in ("lists", "watches")
    ]
    assert values == [1, 2]


@pytest.mark.scenario("RF7", "RF14")
@virtual_time
async def test_rounds_of_lists_and_watches_with_errors_end_in_the_servers_state(clock: VirtualClock) -> None:
    """TestReflectorListAndWatchWithErrors: whatever fails between, the sink has what the last success told."""
    foo, bar, qux, baz = cm("foo", "2"), cm("bar", "3"), cm("qux", "5"), cm("baz", "6")
    answers = [page("1"), page("3", foo, bar), ApiError(403, "Forbidden"), page("5", bar, qux), page("5", bar, qux)]
    streams = [
        Stream([event("ADDED", foo), event("ADDED", bar), BROKEN]),
        Stream([event("DELETED", cm("foo", "4")), event("ADDED", qux), BROKEN]),
        ApiError(403, "Forbidden", "a watch error"),
        Stream([event("ADDED", baz)], stays=True),
    ]
    transport = ScriptedTransport(clock, answers, streams)
    async with reflecting(clock, transport, watch_list=False) as (sink, _):
        await clock.sleep(60)
        assert sink.held == {"default/bar": "3", "default/qux": "5", "default/baz": "6"}
    assert (len(transport.lists), len(transport.watches)) == (5, 4)
