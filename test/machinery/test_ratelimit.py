"""Rate limiters: how long a failing item waits, and that rules can be combined."""

from __future__ import annotations

import pytest

from kaito_controller.machinery.backoff import ItemBackoff, TokenBucket
from kaito_controller.machinery.queue.ratelimit import AtMost, BucketLimiter, FastSlow, MaxOf, overall
from kaito_controller.machinery.queue.workqueue import WorkQueue
from kaito_controller.testing.clock import VirtualClock, virtual_time


@pytest.mark.scenario("RL1")
def test_backoff_doubles_from_5_ms_to_1000_s() -> None:
    """5, 10, 20 ms ... per item; from the 19th failure on 1000 s; forget starts over; no overflow."""
    backoff: ItemBackoff[str] = ItemBackoff()
    delays = [backoff.next_s("a") for _ in range(2000)]
    assert delays[:5] == pytest.approx([0.005, 0.01, 0.02, 0.04, 0.08])
    assert delays[17] == pytest.approx(0.005 * 2**17)
    assert set(delays[18:]) == {1000.0}
    assert backoff.failures("a") == 2000
    assert backoff.next_s("b") == 0.005
    backoff.forget("a")
    assert backoff.failures("a") == 0
    assert backoff.next_s("a") == 0.005


@pytest.mark.scenario("RL2")
def test_a_bucket_lets_100_pass_and_then_10_a_second() -> None:
    """The bucket is shared by all items, fills with time up to its burst, and counts no failures."""
    clock = VirtualClock()
    limiter: BucketLimiter[int] = BucketLimiter(bucket=TokenBucket(clock=clock, rate=10, burst=100))
    delays = [limiter.next_s(item) for item in range(103)]
    assert delays[:100] == [0.0] * 100
    assert delays[100:] == pytest.approx([0.1, 0.2, 0.3])
    limiter.forget(0)
    assert limiter.failures(0) == 0
    clock.advance(1.3)
    assert [limiter.next_s(0) for _ in range(11)] == pytest.approx([0] * 10 + [0.1])
    clock.advance(1000)
    assert [limiter.next_s(0) for _ in range(101)] == pytest.approx([0] * 100 + [0.1])


@pytest.mark.scenario("RL2")
def test_the_slowest_rule_counts_and_all_forget() -> None:
    """Max-of takes the larger wait and the larger count, asks every rule each time, and forwards forget() to all."""
    slow: FastSlow[str] = FastSlow(fast_s=0.02, slow_s=0.5, fast_tries=2)
    steep: ItemBackoff[str] = ItemBackoff()
    both = MaxOf((slow, steep))
    assert [both.next_s("a") for _ in range(4)] == pytest.approx([0.02, 0.02, 0.5, 0.5])
    steep.next_s("a")
    assert both.failures("a") == 5
    both.forget("a")
    assert (slow.failures("a"), steep.failures("a")) == (0, 0)
    assert both.next_s("a") == pytest.approx(0.02)


@pytest.mark.scenario("RL3")
def test_the_first_tries_are_fast_and_the_others_slow() -> None:
    """Fast/slow: so many fast tries per item, then slow ones, until the item is forgotten."""
    limiter: FastSlow[str] = FastSlow(fast_s=0.005, slow_s=10, fast_tries=3)
    assert [limiter.next_s("a") for _ in range(5)] == [0.005, 0.005, 0.005, 10, 10]
    assert limiter.failures("a") == 5
    assert limiter.next_s("b") == 0.005
    limiter.forget("a")
    assert limiter.next_s("a") == 0.005


@pytest.mark.scenario("RL3")
def test_a_wait_can_be_cut() -> None:
    """With-max-wait: the rule's wait up to a cap; counting and forgetting stay the rule's."""
    limiter: AtMost[str] = AtMost(rule=ItemBackoff(), cap_s=0.03)
    assert [limiter.next_s("a") for _ in range(5)] == pytest.approx([0.005, 0.01, 0.02, 0.03, 0.03])
    assert limiter.failures("a") == 5
    limiter.forget("a")
    assert limiter.next_s("a") == 0.005


@pytest.mark.scenario("RL4")
@virtual_time
async def test_a_queue_limits_per_item_unless_told_to_limit_all(clock: VirtualClock) -> None:
    """By default only the item's own backoff counts; the rule for queues without priorities adds the bucket."""
    waits = {}
    for limiter in (None, overall(clock)):
        queue: WorkQueue[int] = WorkQueue(clock, name="test", backoff=limiter)
        began = clock.monotonic()
        for item in range(200):
            queue.add_rate_limited(item)
        for _ in range(200):
            queue.done(await queue.get())
        waits[limiter is None] = clock.monotonic() - began
    assert waits == pytest.approx({True: 0.005, False: 10.0})


@pytest.mark.scenario("RL5")
@virtual_time
async def test_forgetting_an_item_does_not_give_it_back(clock: VirtualClock) -> None:
    """forget() stops the counting of failures only: without done() the item is still held, and not handed out."""
    queue: WorkQueue[str] = WorkQueue(clock, name="test")
    queue.add_rate_limited("a")
    item = await queue.get()
    queue.forget(item)
    assert (queue.failures("a"), queue.processing) == (0, 1)
    queue.add("a")
    await clock.sleep(60)
    assert len(queue) == 0
    queue.done(item)
    assert (await queue.get(), queue.failures("a")) == ("a", 0)
    queue.add_rate_limited("a")
    queue.done("a")
    assert queue.failures("a") == 1
    queue.shut_down()
