"""The workqueue: every key once, no key lost, no key in two hands, and two ways to end."""

from __future__ import annotations

import asyncio
import gc
import weakref
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaito_controller.machinery.queue.delays import SAFETY_WAKE_S
from kaito_controller.machinery.queue.workqueue import QueueShutDown, WorkQueue
from kaito_controller.testing.clock import VirtualClock, cancelled, run, settle, virtual_time


def queue_of(clock: VirtualClock) -> WorkQueue[str]:
    return WorkQueue(clock, name="test")


@pytest.mark.scenario("WQ1")
@virtual_time
async def test_an_item_that_waits_is_not_queued_again(clock: VirtualClock) -> None:
    """Adding a queued item again is a no-op: it keeps its place and comes once."""
    queue = queue_of(clock)
    queue.add("a")
    queue.add("b")
    queue.add("a")
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert len(queue) == 0


@pytest.mark.scenario("WQ2", "PQ3")
@virtual_time
async def test_an_item_added_while_worked_on_comes_once_more_after_done(clock: VirtualClock) -> None:
    """Not handed out until done, then once, however often it was added; others pass it meanwhile."""
    queue = queue_of(clock)
    queue.add("a")
    item = await queue.get()
    queue.add("a")
    queue.add("a", priority=7)
    assert len(queue) == 0
    queue.add("b")
    assert await queue.get() == "b"
    queue.done(item)
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


@pytest.mark.scenario("WQ3")
@virtual_time
async def test_a_readded_item_goes_to_the_tail(clock: VirtualClock) -> None:
    """FIFO, and no key starves behind one that is always re-added."""
    queue = queue_of(clock)
    for item in ("a", "b", "c"):
        queue.add(item)
    first = await queue.get()
    queue.add(first)
    queue.done(first)
    assert [await queue.get() for _ in range(3)] == ["b", "c", "a"]


@pytest.mark.scenario("WQ3")
@virtual_time
async def test_get_waits_for_an_item_and_polls_nothing(clock: VirtualClock) -> None:
    """A blocked get() returns in the step in which an item comes; until then no timer is set for it."""
    queue = queue_of(clock)
    waiting = asyncio.create_task(queue.get())
    await settle()
    assert asyncio.get_running_loop()._scheduled == []  # type: ignore[attr-defined]
    await clock.sleep(1000)
    assert not waiting.done()
    queue.add("a")
    assert await waiting == "a"
    assert clock.monotonic() == 1000


@pytest.mark.scenario("WQ4", "WQ7")
@virtual_time
async def test_shutdown_hands_out_what_waits_and_takes_nothing_more(clock: VirtualClock) -> None:
    """Workers drain the queue, later adds and delayed items are dropped, blocked workers wake."""
    queue = queue_of(clock)
    queue.add("a")
    queue.add_after("later", 5)
    queue.shut_down()
    queue.add("b")
    queue.add_after("c", 1)
    queue.add_rate_limited("d")
    await clock.sleep(60)
    assert await queue.get() == "a"
    with pytest.raises(QueueShutDown):
        await queue.get()
    idle = queue_of(clock)
    blocked = asyncio.create_task(idle.get())
    await settle()
    idle.shut_down()
    with pytest.raises(QueueShutDown):
        await blocked


@pytest.mark.scenario("WQ4")
@virtual_time
async def test_a_delayed_item_that_is_held_does_not_come_back_after_shutdown(clock: VirtualClock) -> None:
    """What was to come later is dropped, even if its item is worked on just now; what was added at once is not."""
    queue = queue_of(clock)
    queue.add("a")
    queue.add("b")
    await queue.get()
    await queue.get()
    queue.add_after("a", 5)
    queue.add("b")
    queue.shut_down()
    queue.done("a")
    queue.done("b")
    assert await queue.get() == "b"
    queue.done("b")
    with pytest.raises(QueueShutDown):
        await queue.get()


@pytest.mark.scenario("WQ5")
@virtual_time
async def test_drained_waits_for_what_is_worked_on_and_added_again(clock: VirtualClock) -> None:
    """Drained means that nothing waits and nothing is held, what done() queued again included."""
    queue = queue_of(clock)
    queue.add("a")
    item = await queue.get()
    queue.add("a")
    drained = asyncio.create_task(queue.shut_down_with_drain())
    await settle()
    queue.add("too late")
    queue.done(item)
    await settle()
    assert not drained.done()
    queue.done(await queue.get())
    await drained
    assert (len(queue), queue.processing) == (0, 0)


@pytest.mark.scenario("WQ5")
@virtual_time
async def test_a_shutdown_during_the_drain_ends_the_wait(clock: VirtualClock) -> None:
    """shut_down() lets go whoever waits for a worker that does not finish."""
    queue = queue_of(clock)
    queue.add("stuck")
    await queue.get()
    drains = [asyncio.create_task(queue.shut_down_with_drain()), asyncio.create_task(queue.drained())]
    await settle()
    assert not any(drain.done() for drain in drains)
    queue.shut_down()
    await asyncio.gather(*drains)
    assert queue.processing == 1


@pytest.mark.scenario("WQ5")
@virtual_time
async def test_an_idle_queue_is_drained_at_once(clock: VirtualClock) -> None:
    """There is nothing to wait for, and draining again neither."""
    queue = queue_of(clock)
    await queue.shut_down_with_drain()
    await queue.drained()


@pytest.mark.scenario("WQ6")
@virtual_time
async def test_of_two_delays_the_earlier_deadline_wins(clock: VirtualClock) -> None:
    """One pending entry per item; a delay of nothing is an add; ready order is by deadline."""
    queue = queue_of(clock)
    queue.add_after("a", 10)
    queue.add_after("a", 3)
    queue.add_after("a", 20)
    queue.add_after("b", 2)
    queue.add_after("now", 0)
    queue.add_after("past", -5)
    got = []
    for _ in range(4):
        item = await queue.get()
        got.append((item, round(clock.monotonic(), 6)))
        queue.done(item)
    assert got == [("now", 0), ("past", 0), ("b", 2), ("a", 3)]
    await clock.sleep(60)
    assert (len(queue), queue.delayed) == (0, 0)


class CountingClock(VirtualClock):
    """Writes down the timers that are set."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[float] = []

    def call_later(self, seconds, callback):
        self.timers.append(seconds)
        return super().call_later(seconds, callback)


@pytest.mark.scenario("WQ6")
@virtual_time
async def test_one_timer_serves_all_delayed_items(clock: VirtualClock) -> None:
    """A thousand delays set one timer, which never sleeps longer than the safety wake; each comes at its instant."""
    counting = CountingClock()
    counting.monotonic = clock.monotonic  # type: ignore[method-assign]
    queue = queue_of(counting)
    for number in range(1000):
        queue.add_after(str(number), 25 + number / 1000)
    assert counting.timers == [SAFETY_WAKE_S]
    assert await queue.get() == "0"
    assert clock.monotonic() == pytest.approx(25)
    assert max(counting.timers) == SAFETY_WAKE_S
    for number in range(1, 1000):
        assert await queue.get() == str(number)
        assert clock.monotonic() == pytest.approx(25 + number / 1000)
    assert queue.delayed == 0


@pytest.mark.scenario("WQ6")
@virtual_time
async def test_deadlines_that_move_leave_nothing_behind(clock: VirtualClock) -> None:
    """An item that is asked for ever earlier, or at once, takes no more room than one entry in the long run."""
    queue = queue_of(clock)
    for step in range(10_000):
        queue.add_after("a", 20_000 - step)
        queue.add_after(f"one of many {step}", 10_000)
        queue.add(f"one of many {step}")
        item = await queue.get()
        queue.done(item)
    assert len(queue._delays._heap) < 200
    assert (len(queue), queue.delayed) == (0, 1)
    queue.shut_down()


class Thing:
    """Something that can be hashed and watched while it is collected."""


@pytest.mark.scenario("WQ7")
@virtual_time
async def test_a_finished_item_can_be_collected(clock: VirtualClock) -> None:
    """After done() the queue keeps no hold on the item, though an older one still waits."""
    queue: WorkQueue[Thing] = WorkQueue(clock, name="things")
    older = Thing()
    queue.add(older, priority=-1)
    item = Thing()
    ghost = weakref.ref(item)
    queue.add(item)
    assert await queue.get() is item
    queue.done(item)
    del item
    gc.collect()
    assert ghost() is None


@pytest.mark.scenario("WQ3")
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


@virtual_time
async def test_workers_that_gave_up_leave_nothing_behind(clock: VirtualClock) -> None:
    """A get() that is cancelled while it waits is forgotten, and the next item goes to one that still waits."""
    queue = queue_of(clock)
    gone = [asyncio.create_task(queue.get()) for _ in range(50)]
    await settle()
    await cancelled(*gone)
    assert len(queue._getters) == 0
    waiting = asyncio.create_task(queue.get())
    await settle()
    queue.add("a")
    assert await waiting == "a"


KEYS = st.sampled_from("abcd")
ADDS = st.lists(st.tuples(st.floats(0, 10), KEYS, st.sampled_from(["add", "after", "limited"])), max_size=60)


@pytest.mark.scenario("WQ1", "WQ2", "CT9")
@settings(max_examples=60, deadline=None)
@given(adds=ADDS, workers=st.integers(1, 4), seed=st.integers(0, 2**16))
def test_no_key_is_lost_and_none_is_in_two_hands(adds: list[tuple[float, str, str]], workers: int, seed: int) -> None:
    """After its last add each key is worked on again, and never by two workers at once."""

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
