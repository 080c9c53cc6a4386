"""The workqueue: every key once, no key lost, no key in two hands."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from kaito_controller.machinery.backoff import ItemBackoff
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.workqueue import QueueShutDown, WorkQueue
from kaito_controller.testing.clock import VirtualClock, run, settle, virtual_time


def queue_of(clock: VirtualClock) -> WorkQueue[str]:
    return WorkQueue(clock, name="test")


@virtual_time
async def test_an_item_that_waits_is_not_queued_again(clock: VirtualClock) -> None:
    """WQ1: adding a queued item is a no-op."""
    queue = queue_of(clock)
    queue.add("a")
    queue.add("a")
    queue.add("b")
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert len(queue) == 0


@virtual_time
async def test_an_item_added_while_worked_on_comes_once_more_after_done(clock: VirtualClock) -> None:
    """WQ2: not handed out until done, then once, however often it was added."""
    queue = queue_of(clock)
    queue.add("a")
    item = await queue.get()
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done(item)
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


@virtual_time
async def test_a_readded_item_goes_to_the_tail(clock: VirtualClock) -> None:
    """WQ3: FIFO, and no key starves behind one that is always re-added."""
    queue = queue_of(clock)
    for item in ("a", "b", "c"):
        queue.add(item)
    first = await queue.get()
    queue.add(first)
    queue.done(first)
    assert [await queue.get() for _ in range(3)] == ["b", "c", "a"]


@virtual_time
async def test_shutdown_hands_out_what_waits_and_takes_nothing_more(clock: VirtualClock) -> None:
    """WQ4, WQ7: workers drain the queue, later adds are ignored, blocked workers wake."""
    queue = queue_of(clock)
    queue.add("a")
    queue.add_after("later", 5)
    queue.shut_down()
    queue.add("b")
    queue.add_after("c", 1)
    assert await queue.get() == "a"
    with pytest.raises(QueueShutDown):
        await queue.get()
    idle = queue_of(clock)
    blocked = asyncio.create_task(idle.get())
    await settle()
    idle.shut_down()
    with pytest.raises(QueueShutDown):
        await blocked


@virtual_time
async def test_drained_waits_for_what_is_worked_on_and_added_again(clock: VirtualClock) -> None:
    """WQ5: drained means that nothing waits and nothing is held, dirty items included."""
    queue = queue_of(clock)
    queue.add("a")
    item = await queue.get()
    queue.add("a")
    queue.shut_down()
    drained = asyncio.create_task(queue.drained())
    queue.done(item)
    await settle()
    assert not drained.done()
    queue.done(await queue.get())
    await drained


@virtual_time
async def test_of_two_delays_the_earlier_deadline_wins(clock: VirtualClock) -> None:
    """WQ6: one pending entry per item; a delay of nothing is an add; ready order is by deadline."""
    queue = queue_of(clock)
    queue.add_after("a", 10)
    queue.add_after("a", 3)
    queue.add_after("a", 20)
    queue.add_after("b", 2)
    queue.add_after("now", 0)
    got = []
    for _ in range(3):
        item = await queue.get()
        got.append((item, round(clock.monotonic(), 6)))
        queue.done(item)
    assert got == [("now", 0), ("b", 2), ("a", 3)]
    await clock.sleep(60)
    assert len(queue) == 0


@virtual_time
async def test_a_wake_up_that_met_a_cancel_goes_to_the_next_worker(clock: VirtualClock) -> None:
    """A worker that is cancelled in the moment it is woken takes no item with it."""
    queue = queue_of(clock)
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await settle()
    queue.add("a")
    first.cancel()
    await settle()
    assert first.cancelled()
    assert await second == "a"


def test_backoff_doubles_from_5_ms_to_1000_s() -> None:
    """RL1: 5, 10, 20 ms ...; from the 19th failure on 1000 s; forget starts over; no overflow."""
    backoff: ItemBackoff[str] = ItemBackoff()
    delays = [backoff.next_s("a") for _ in range(2000)]
    assert delays[:5] == pytest.approx([0.005, 0.01, 0.02, 0.04, 0.08])
    assert delays[17] == pytest.approx(0.005 * 2**17)
    assert set(delays[18:]) == {1000.0}
    assert backoff.failures("a") == 2000
    backoff.forget("a")
    assert backoff.next_s("a") == 0.005


@virtual_time
async def test_metrics_follow_the_queue(clock: VirtualClock) -> None:
    """MX3: depth, adds, retries, durations and the age of work in progress."""
    registry = CollectorRegistry()
    queue: WorkQueue[str] = WorkQueue(clock, name="q", metrics=Metrics(registry))
    labels = {"name": "q", "controller": "q"}

    def value(name: str) -> float | None:
        return registry.get_sample_value(name, labels)

    queue.add("a")
    queue.add("b")
    assert registry.get_sample_value("workqueue_depth", labels | {"priority": "0"}) == 2
    await clock.sleep(3)
    item = await queue.get()
    await clock.sleep(4)
    assert (value("workqueue_unfinished_work_seconds"), value("workqueue_longest_running_processor_seconds")) == (4, 4)
    queue.done(item)
    queue.add_rate_limited("a")
    assert value("workqueue_adds_total") == 2
    assert value("workqueue_retries_total") == 1
    assert value("workqueue_queue_duration_seconds_sum") == 3
    assert value("workqueue_work_duration_seconds_sum") == 4
    assert value("workqueue_unfinished_work_seconds") == 0
    queue.shut_down()


KEYS = st.sampled_from("abcd")
ADDS = st.lists(st.tuples(st.floats(0, 10), KEYS, st.sampled_from(["add", "after", "limited"])), max_size=60)


@settings(max_examples=60, deadline=None)
@given(adds=ADDS, workers=st.integers(1, 4), seed=st.integers(0, 2**16))
def test_no_key_is_lost_and_none_is_in_two_hands(adds: list[tuple[float, str, str]], workers: int, seed: int) -> None:
    """WQ1, WQ2, CT9: after its last add each key is worked on again, and never by two workers at once."""

    async def scenario(clock: VirtualClock) -> None:
        queue = queue_of(clock)
        rng = Random(seed)
        changed: dict[str, float] = {}
        seen: dict[str, float] = {}
        held: set[str] = set()

        async def work() -> None:
            while True:
                try:
                    item = await queue.get()
                except QueueShutDown:
                    return
                assert item not in held
                held.add(item)
                seen[item] = clock.monotonic()
                await clock.sleep(rng.choice([0, 0.5, 3]))
                held.discard(item)
                queue.done(item)

        tasks = [asyncio.create_task(work()) for _ in range(workers)]
        for instant, item, how in sorted(adds):
            await clock.sleep(instant - clock.monotonic())
            changed[item] = clock.monotonic()
            if how == "add":
                queue.add(item)
            elif how == "after":
                queue.add_after(item, rng.random() * 5)
            else:
                queue.add_rate_limited(item)
        await clock.sleep(3000)
        queue.shut_down()
        await asyncio.gather(*tasks)
        assert {item for item, at in changed.items() if seen.get(item, -1.0) < at} == set()

    run(scenario)
