"""The priorities of the workqueue: who goes first, who keeps a place, and that nobody waits for ever."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.queue.waiting import AGEING_S, AGEING_TURN
from kaito_controller.machinery.queue.workqueue import QueueShutDown, WorkQueue
from kaito_controller.testing.clock import VirtualClock, settle, virtual_time


def queue_of(clock: VirtualClock) -> WorkQueue[str]:
    return WorkQueue(clock, name="test")


async def take(queue: WorkQueue[str], count: int) -> list[str]:
    """The next items, each given back at once."""
    taken = []
    for _ in range(count):
        taken.append(await queue.get())
        queue.done(taken[-1])
    return taken


@pytest.mark.scenario("PQ1")
@pytest.mark.parametrize("delay", [-1.0, 0.0, 1.0])
def test_higher_priorities_go_first_each_in_order(delay: float) -> None:
    """The higher number first and FIFO inside one priority, whether added now or ripened together."""

    @virtual_time
    async def scenario(clock: VirtualClock) -> None:
        queue = queue_of(clock)
        priorities = (-10, 5, 0, 10, -5)
        for number in range(100):
            for priority in priorities:
                queue.add_after(f"{priority} {number}", delay, priority=priority)
        await clock.sleep(max(delay, 0))
        expected = [f"{priority} {number}" for priority in sorted(priorities, reverse=True) for number in range(100)]
        assert await take(queue, 500) == expected

    scenario()


@pytest.mark.scenario("PQ2")
@virtual_time
async def test_the_highest_priority_counts_and_a_raised_item_goes_to_its_tail(clock: VirtualClock) -> None:
    """Max priority; a raise is the tail of the new priority; a lower one is ignored; each comes once."""
    queue = queue_of(clock)
    for item in ("a", "b", "c"):
        queue.add(item)
    queue.add("urgent", priority=1)
    queue.add("b", priority=1)
    queue.add("b", priority=-5)
    queue.add("a", priority=-5)
    assert await take(queue, 4) == ["urgent", "b", "a", "c"]
    assert len(queue) == 0


@pytest.mark.scenario("PQ2")
@virtual_time
async def test_the_earliest_time_counts_whatever_the_priority(clock: VirtualClock) -> None:
    """Min ready time: one that waits is not put off, one that is put off comes at the earlier deadline."""
    queue = queue_of(clock)
    queue.add("ready")
    queue.add_after("ready", 100, priority=3)
    queue.add_after("later", 50, priority=1)
    queue.add_after("later", 20, priority=0)
    queue.add_after("later", 90, priority=2)
    first = await queue.get()
    assert (first, queue.priority(first), queue.delayed) == ("ready", 3, 1)
    queue.done(first)
    second = await queue.get()
    assert (second, queue.priority(second), clock.monotonic()) == ("later", 2, 20)


@pytest.mark.scenario("PQ3")
@virtual_time
async def test_a_held_item_blocks_no_other(clock: VirtualClock) -> None:
    """What a worker holds is passed over, at any priority; added meanwhile, it comes after done(), raised or not."""
    queue = queue_of(clock)
    queue.add("a", priority=5)
    held = await queue.get()
    queue.add("a", priority=2)
    queue.add("a", priority=9)
    queue.add("b")
    assert len(queue) == 1
    assert await take(queue, 1) == ["b"]
    queue.add("c", priority=8)
    queue.done(held)
    assert (await queue.get(), queue.priority("a")) == ("a", 9)
    assert await take(queue, 1) == ["c"]


@pytest.mark.scenario("PQ4")
@virtual_time
async def test_a_delayed_item_gets_its_place_when_it_is_ready(clock: VirtualClock) -> None:
    """After and then a plain add is now; len() counts what is ready; a ripe item stands behind those before it."""
    queue = queue_of(clock)
    queue.add_after("now after all", 60)
    queue.add_after("ripens", 5)
    queue.add_after("urgent", 7, priority=1)
    assert (len(queue), queue.delayed) == (0, 3)
    queue.add("now after all")
    assert (len(queue), queue.delayed) == (1, 2)
    await clock.sleep(4)
    queue.add("before")
    await clock.sleep(2)
    queue.add("after")
    await clock.sleep(2)
    assert (len(queue), queue.delayed) == (5, 0)
    assert await take(queue, 5) == ["urgent", "now after all", "before", "ripens", "after"]
    await clock.sleep(600)
    assert len(queue) == 0


@pytest.mark.scenario("PQ5")
@virtual_time
async def test_of_backoff_and_delay_the_smaller_counts(clock: VirtualClock) -> None:
    """Rate-limited with a delay waits the smaller of both, and each item of a batch is limited alone."""
    queue = queue_of(clock)
    for _ in range(10):
        queue.backoff.next_s("failing")
    queue.add_all(["failing", "fresh"], after_s=1.0, rate_limited=True)
    assert (queue.failures("failing"), queue.failures("fresh")) == (11, 1)
    got = []
    for _ in range(2):
        item = await queue.get()
        got.append((item, round(clock.monotonic(), 6)))
        queue.done(item)
    assert got == [("fresh", 0.005), ("failing", 1.0)]
    queue.add_all(["x", "y"], after_s=2.0, priority=1)
    queue.add_all(["z"], priority=-1)
    assert await take(queue, 3) == ["z", "x", "y"]
    assert clock.monotonic() == pytest.approx(3.0)


@pytest.mark.scenario("PQ6")
@virtual_time
async def test_a_requeue_keeps_the_priority_unless_told(clock: VirtualClock) -> None:
    """What is queued again by who holds it keeps its priority; another one can be asked for; unheld means 0."""
    queue = queue_of(clock)
    queue.add("a", priority=-100)
    assert queue.priority(await queue.get()) == -100
    queue.add_rate_limited("a")
    queue.done("a")
    assert queue.priority(await queue.get()) == -100
    queue.add_after("a", 5, priority=3)
    queue.done("a")
    assert queue.priority(await queue.get()) == 3
    queue.done("a")
    queue.add_after("a", 5)
    assert (await queue.get(), queue.priority("a"), queue.priority("unknown")) == ("a", 0, 0)


@pytest.mark.scenario("PQ7")
@virtual_time
async def test_a_shutdown_without_drain_hands_out_nothing_more(clock: VirtualClock) -> None:
    """get() says at once that it is over, items wait or not; who holds one may give it back."""
    queue = queue_of(clock)
    queue.add("held")
    held = await queue.get()
    queue.add("held")
    queue.add("waits")
    queue.add_after("later", 5)
    queue.shut_down(drain=False)
    queue.add("too late")
    for _ in range(2):
        with pytest.raises(QueueShutDown):
            await queue.get()
    queue.done(held)
    await queue.drained()
    with pytest.raises(QueueShutDown):
        await queue.get()


@pytest.mark.scenario("PQ7")
@virtual_time
async def test_a_shutdown_while_handing_out_leaves_nobody_waiting(clock: VirtualClock) -> None:
    """Workers that were woken for an item, and those that were not, all hear of the end in the same step."""
    queue = queue_of(clock)
    workers = [asyncio.create_task(queue.get()) for _ in range(5)]
    await settle()
    queue.add("a")
    queue.add("b")
    queue.shut_down(drain=False)
    outcomes = await asyncio.gather(*workers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [QueueShutDown] * 5
    await queue.drained()


@pytest.mark.scenario("PQ8")
@virtual_time
async def test_depth_is_told_by_priority_up_to_25_of_them(clock: VirtualClock) -> None:
    """One series a priority, at 0 once it is empty; past 25 different ones, one series for all the others."""
    registry = CollectorRegistry()
    queue: WorkQueue[str] = WorkQueue(clock, name="q", metrics=Metrics(registry))

    def depth(priority: object) -> float | None:
        labels = {"name": "q", "controller": "q", "priority": str(priority)}
        return registry.get_sample_value("workqueue_depth", labels)

    assert (depth(0), depth(-100)) == (0, None)
    queue.add("a", priority=-100)
    queue.add("b")
    assert (depth(0), depth(-100)) == (1, 1)
    queue.add("a")
    assert (depth(0), depth(-100)) == (2, 0)
    queue.add_after("later", 5, priority=1)
    assert depth(1) is None
    for priority in range(1, 41):
        queue.add(f"many {priority}", priority=priority)
    assert [depth(priority) for priority in (1, 23, 24, 40)] == [1, 1, None, None]
    assert depth("exceeded_cardinality_limit") == 17
    queue.add("many 40", priority=5)
    queue.add("many 3", priority=1000)
    assert (depth(3), depth("exceeded_cardinality_limit")) == (0, 18)
    await take(queue, 42)
    assert [depth(priority) for priority in (0, -100, 1, 23)] == [0, 0, 0, 0]
    assert depth("exceeded_cardinality_limit") == 0
    queue.shut_down()


@pytest.mark.scenario("PQ1", "PQ6")
@virtual_time
async def test_a_storm_does_not_starve_the_first_list(clock: VirtualClock) -> None:
    """Fresh events go first; but once the first list has waited, every fifth turn is its own, in its order."""
    queue = queue_of(clock)
    for number in range(100):
        queue.add(f"first {number}", priority=-100)
    turns = []
    for turn in range(800):
        # Ten events a second, and a worker that manages just as many: the storm alone would fill it for ever.
        queue.add(f"storm {turn}")
        turns += await take(queue, 1)
        await clock.sleep(0.1)
    overdue = turns.index("first 0")
    assert overdue / 10 == pytest.approx(AGEING_S + 0.4, abs=0.11)
    assert [turns.index(f"first {number}") for number in range(100)] == [
        overdue + AGEING_TURN * number for number in range(100)
    ]
    fresh = [turn for turn in turns if turn.startswith("storm")]
    assert fresh == [f"storm {number}" for number in range(len(fresh))]


@pytest.mark.scenario("PQ1", "PQ6")
@virtual_time
async def test_a_long_first_list_does_not_hold_up_a_fresh_event(clock: VirtualClock) -> None:
    """However long the list has waited, a fresh event is handed out within two turns."""
    queue = queue_of(clock)
    for number in range(5000):
        queue.add(f"first {number}", priority=-100)
    await clock.sleep(3600)
    for round_number in range(200):
        await take(queue, 3)
        queue.add(f"fresh {round_number}")
        assert f"fresh {round_number}" in await take(queue, 2)


@pytest.mark.scenario("PQ1")
@virtual_time
async def test_ageing_takes_turns_between_many_priorities(clock: VirtualClock) -> None:
    """An item that n others became ready before is handed out after AGEING_S and AGEING_TURN * (n + 1) turns."""
    queue = queue_of(clock)
    waiting = [f"low {number}" for number in range(20)]
    for number, item in enumerate(waiting):
        queue.add(item, priority=-number)
    await clock.sleep(AGEING_S)
    turns = []
    for turn in range(AGEING_TURN * len(waiting)):
        queue.add(f"storm {turn}", priority=1)
        turns += await take(queue, 1)
    for number, item in enumerate(waiting):
        assert turns.index(item) < AGEING_TURN * (number + 1)


@virtual_time
async def test_a_raised_item_keeps_how_long_it_has_waited(clock: VirtualClock) -> None:
    """A raise gives up the place in the old line, not the turn that the item has earned by waiting."""
    queue = queue_of(clock)
    queue.add("old", priority=-100)
    await clock.sleep(AGEING_S)
    for number in range(10):
        queue.add(f"other {number}")
    queue.add("old", priority=0)
    assert (await take(queue, AGEING_TURN))[-1] == "old"
    assert await take(queue, 6) == [f"other {number}" for number in range(4, 10)]


@virtual_time
async def test_dead_places_are_swept_out(clock: VirtualClock) -> None:
    """An item at the bottom that never gets its turn does not make the queue remember all that passed it."""
    queue = queue_of(clock)
    queue.add("bottom", priority=-200)
    for number in range(20_000):
        queue.add(f"{number}", priority=-100)
        queue.add(f"{number}", priority=0)
        await take(queue, 1)
    waiting = queue._waiting
    assert len(waiting._by_age) < 200
    assert sum(len(line.places) for line in waiting._lines.values()) < 200
    assert await take(queue, 1) == ["bottom"]
