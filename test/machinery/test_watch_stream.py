"""An open watch: its turns, its deadlines and its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import inf

import pytest

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery import codec
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.errors import ApiError
from kaito_controller.machinery.reflector.collection import Collection
from kaito_controller.machinery.reflector.watch_stream import BATCH, BATCH_S, WatchStream
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.reflecting import Notes, reflecting
from kaito_controller.testing.transport import ScriptedTransport, Step, Stream, error, event, initial_events_end, obj


def cm(name: str, version: str, **fields: object) -> Object:
    return obj(CONFIG_MAPS, name, version, **fields)


def added(count: int) -> list[bytes]:
    return [event("ADDED", cm(f"c{number}", str(11 + number))) for number in range(count)]


def page(version: str) -> Object:
    return {"metadata": {"resourceVersion": version}, "items": []}


async def opened(clock: VirtualClock, steps: Sequence[Step], *, stays: bool = False) -> WatchStream:
    transport = ScriptedTransport(clock, [], [Stream(list(steps), stays=stays)])
    return await WatchStream.open(Collection(client=Client(transport), resource=CONFIG_MAPS), clock, "10", 300)


async def most_events_in_a_turn(sink: Notes, count: int) -> int:
    """How many objects came, at most, between two turns of another task."""
    longest, last = 0, 0
    while len(sink.held) < count:
        await asyncio.sleep(0)
        longest, last = max(longest, len(sink.held) - last), len(sink.held)
    return longest


@pytest.mark.parametrize("per_chunk", [1, 7, 10_000])
@virtual_time
async def test_a_storm_leaves_turns_for_others(clock: VirtualClock, per_chunk: int) -> None:
    """Design 2: of 10,000 events, in chunks that are there at once, no more than 200 come without a pause."""
    lines = added(10_000)
    chunks = [b"".join(lines[at : at + per_chunk]) for at in range(0, len(lines), per_chunk)]
    transport = ScriptedTransport(clock, [page("10")], [Stream(chunks, stays=True)])
    async with reflecting(clock, transport, watch_list=False) as (sink, _):
        assert await most_events_in_a_turn(sink, 10_000) == BATCH


@virtual_time
async def test_a_stream_of_everything_leaves_turns_for_others(clock: VirtualClock) -> None:
    """Design 4: 10,000 initial events pause as often; only the one replace at their end is in one piece."""
    chunk = b"".join([*added(10_000), initial_events_end(CONFIG_MAPS, "20000")])
    transport = ScriptedTransport(clock, [], [Stream([chunk], stays=True)], streams_lists=True)
    turns = 0
    async with reflecting(clock, transport) as (sink, _):
        while not sink.told:
            await asyncio.sleep(0)
            turns += 1
        assert len(sink.held) == 10_000
    assert turns >= 10_000 / BATCH


@virtual_time
async def test_slow_events_leave_turns_for_others_by_the_time_they_take(clock: VirtualClock) -> None:
    """Design 2: 5 ms of work is a turn, however few the events; here each takes one."""

    class Slow(Notes):
        def changed(self, obj: Object) -> None:
            clock.advance(0.001)
            super().changed(obj)

    transport = ScriptedTransport(clock, [page("10")], [Stream([b"".join(added(100))], stays=True)])
    async with reflecting(clock, transport, Slow(), watch_list=False) as (sink, _):
        assert await most_events_in_a_turn(sink, 100) <= BATCH_S / 0.001 + 1


@virtual_time
async def test_a_receiver_that_had_enough_leaves_the_rest_for_the_next(clock: VirtualClock) -> None:
    """The initial events and the first live ones often come in one chunk: none is lost, none is told twice."""
    stream = await opened(clock, [b"".join(added(5))])
    first: list[str] = []
    second: list[str] = []

    def three(_kind: str, item: Object, _version: str) -> bool:
        first.append(item["metadata"]["name"])
        return len(first) == 3

    assert await stream.deliver(three, lambda: inf)
    assert not await stream.deliver(lambda _kind, item, _: bool(second.append(item["metadata"]["name"])), lambda: inf)
    assert (first, second, stream.seen) == (["c0", "c1", "c2"], ["c3", "c4"], 5)
    await stream.aclose()


@virtual_time
async def test_lines_may_be_cut_anywhere(clock: VirtualClock) -> None:
    """T4: two events in one chunk, one event in many, characters of several bytes cut apart, a line of 5 MiB."""
    accented = cm("a", "11", data={"text": "Zürich ☃"})
    large = cm("b", "12", data={"text": "x" * 5 * 2**20})
    raw = codec.dumps({"type": "ADDED", "object": accented}) + b"\n\r\n" + event("ADDED", large)
    cuts = [raw[:40], *(raw[at : at + 1] for at in range(40, 220)), raw[220 : 2**20], raw[2**20 :]]
    stream = await opened(clock, [*cuts, event("DELETED", cm("a", "13"))])
    told: list[tuple[str, Object]] = []
    await stream.deliver(lambda kind, item, _: bool(told.append((kind, item))), lambda: inf)
    await stream.aclose()
    assert [(kind, item["metadata"]["name"]) for kind, item in told] == [
        ("ADDED", "a"),
        ("ADDED", "b"),
        ("DELETED", "a"),
    ]
    assert (told[0][1], told[1][1]) == (accented, large)


@pytest.mark.scenario("RF15")
@virtual_time
async def test_a_line_without_end_is_an_internal_error(clock: VirtualClock) -> None:
    """A peer that never ends its line is left before the memory is full."""
    chunk = b"x" * 2**20
    stream = await opened(clock, [chunk] * (codec.LINE_LIMIT // len(chunk) + 1), stays=True)
    with pytest.raises(ApiError, match=r"ClientWatchDecoding: .*at most \d+ bytes"):
        await stream.deliver(lambda *_: False, lambda: inf)
    await stream.aclose()


@pytest.mark.scenario("RF14")
@virtual_time
async def test_events_before_an_error_are_told(clock: VirtualClock) -> None:
    """Also when they came in the same chunk; those after it are not."""
    stream = await opened(clock, [b"".join([*added(2), error(410, "Expired"), *added(1)])])
    told: list[str] = []
    with pytest.raises(ApiError, match="410 Expired"):
        await stream.deliver(lambda _kind, _item, version: bool(told.append(version)), lambda: inf)
    await stream.aclose()
    assert told == ["11", "12"]


@virtual_time
async def test_a_deadline_in_the_past_ends_even_a_stream_that_never_pauses(clock: VirtualClock) -> None:
    """Bytes that are always there are handed out without a wait, so no timer would ever fire."""

    class Busy(Notes):
        def changed(self, obj: Object) -> None:
            clock.advance(1.0)
            super().changed(obj)

    transport = ScriptedTransport(clock, [page("10")], [Stream(added(2000), stays=True)])
    async with reflecting(clock, transport, Busy(), watch_list=False):
        await clock.sleep(400)
        await clock.sleep(400)
    overdue = int(transport.watches[0].query["timeoutSeconds"]) + 30
    assert transport.watches[1].at == overdue


@pytest.mark.scenario("RF21")
@virtual_time
async def test_an_answer_is_closed_exactly_once(clock: VirtualClock) -> None:
    """However often it is asked for, and in the order in which it was opened: the chunks first, the answer last."""
    closed: list[str] = []

    class Recording(ScriptedTransport):
        @asynccontextmanager
        async def stream(self, *_args, **_kwargs):
            async def chunks() -> AsyncIterator[bytes]:
                try:
                    yield added(1)[0]
                finally:
                    closed.append("chunks")

            try:
                yield chunks()
            finally:
                closed.append("answer")

    collection = Collection(client=Client(Recording(clock)), resource=CONFIG_MAPS)
    stream = await WatchStream.open(collection, clock, "10", 300)
    assert stream.is_open
    assert await stream.deliver(lambda *_: True, lambda: inf)
    await stream.aclose()
    await stream.aclose()
    assert (closed, stream.is_open) == (["chunks", "answer"], False)
    assert not await stream.deliver(lambda *_: True, lambda: inf)
