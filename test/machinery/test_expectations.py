"""Expectations and slow starts: waiting for what was done to be seen, and doing a little before doing much."""

from __future__ import annotations

import asyncio

import pytest

from kaito_controller.kube.core import PODS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.cache.event import Change, Event
from kaito_controller.machinery.controller.expectations import EXPIRY_S, Expectations
from kaito_controller.machinery.controller.slow_start import SlowStartError, slow_start
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.transport import obj

OWNER = "default/set"


def pod(name: str, *, deleting: bool = False) -> Object:
    made = obj(PODS, name, "1")
    made["metadata"]["uid"] = f"uid-{name}"
    if deleting:
        made["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return made


def added(name: str) -> Event:
    return Event(change=Change.ADDED, object=pod(name))


def deleted(name: str) -> Event:
    return Event(change=Change.DELETED, object=pod(name))


def deleting(name: str) -> Event:
    return Event(change=Change.UPDATED, object=pod(name, deleting=True), old=pod(name))


@pytest.mark.scenario("EX1")
def test_an_owner_waits_until_everything_was_seen() -> None:
    """Satisfied: never set, all seen, more than was expected seen, or set longer than five minutes ago."""
    clock = VirtualClock()
    expectations = Expectations(clock=clock)
    assert expectations.is_satisfied(OWNER)
    expectations.expect(OWNER, creations=2, deletions=["uid-x"])
    for event in (added("a"), deleted("x")):
        expectations.observe(OWNER, event)
        assert not expectations.is_satisfied(OWNER)
    expectations.observe(OWNER, added("b"))
    assert expectations.is_satisfied(OWNER)
    expectations.observe(OWNER, added("c"))
    assert expectations.is_satisfied(OWNER)
    expectations.expect(OWNER, creations=1)
    assert not expectations.is_satisfied(OWNER)
    clock.advance(EXPIRY_S)
    assert not expectations.is_satisfied(OWNER)
    clock.advance(1)
    assert expectations.is_satisfied(OWNER)


@pytest.mark.scenario("EX1")
def test_a_call_that_failed_is_not_waited_for() -> None:
    """Who made the call lowers what will never be seen; other owners are not touched."""
    expectations = Expectations(clock=VirtualClock())
    expectations.expect(OWNER, creations=2, deletions=["uid-x", "uid-y"])
    expectations.expect("default/other", creations=1)
    expectations.lower(OWNER, creations=2, deletions=["uid-x"])
    assert not expectations.is_satisfied(OWNER)
    expectations.lower(OWNER, deletions=["uid-y"])
    assert expectations.is_satisfied(OWNER)
    assert not expectations.is_satisfied("default/other")


@pytest.mark.scenario("EX2")
def test_a_deletion_counts_once_however_often_it_is_seen() -> None:
    """The update with deletionTimestamp and the deletion are one; a stranger's deletion is none of ours."""
    expectations = Expectations(clock=VirtualClock())
    expectations.expect(OWNER, deletions=["uid-x", "uid-y"])
    for event in (deleting("x"), deleted("x"), deleted("stranger")):
        expectations.observe(OWNER, event)
        assert not expectations.is_satisfied(OWNER)
    expectations.observe(OWNER, deleting("y"))
    assert expectations.is_satisfied(OWNER)


@pytest.mark.scenario("EX2", "SI10")
def test_a_child_made_again_unseen_is_a_deletion_and_a_creation() -> None:
    """One update with another UID; a child first seen when it is being deleted was created all the same."""
    expectations = Expectations(clock=VirtualClock())
    expectations.expect(OWNER, creations=2, deletions=["uid-a"])
    again = pod("a")
    again["metadata"]["uid"] = "uid-again"
    expectations.observe(OWNER, Event(change=Change.UPDATED, object=again, old=pod("a")))
    assert not expectations.is_satisfied(OWNER)
    expectations.observe(OWNER, Event(change=Change.ADDED, object=pod("b", deleting=True)))
    assert expectations.is_satisfied(OWNER)


@pytest.mark.scenario("EX3")
def test_nothing_is_kept_of_an_owner_that_is_gone() -> None:
    """A new owner of the same name starts with a clean slate, and no record piles up."""
    expectations = Expectations(clock=VirtualClock())
    expectations.expect(OWNER, creations=5)
    expectations.forget(OWNER)
    expectations.forget(OWNER)
    assert expectations.is_satisfied(OWNER)
    assert len(expectations) == 0
    expectations.observe(OWNER, added("late"))
    assert len(expectations) == 0


@virtual_time
@pytest.mark.scenario("EX4")
async def test_batches_double_and_each_runs_at_once(clock: VirtualClock) -> None:
    """1, 2, 4, 8 and the rest; the calls of one batch go out together, the next batch when all have returned."""
    begun: dict[float, int] = {}

    async def act(_: int) -> None:
        begun[clock.monotonic()] = begun.get(clock.monotonic(), 0) + 1
        await clock.sleep(1)

    assert await slow_start(range(20), act) == 20
    assert list(begun.values()) == [1, 2, 4, 8, 5]
    assert await slow_start([], act) == 0


@virtual_time
@pytest.mark.scenario("EX4", "EX1")
async def test_the_first_batch_that_fails_is_the_last(clock: VirtualClock) -> None:
    """Its other calls are finished, the rest is skipped, and what failed or was skipped is no longer expected."""
    expectations = Expectations(clock=clock)
    expectations.expect(OWNER, creations=20)
    made: list[int] = []

    async def act(number: int) -> None:
        await asyncio.sleep(0)
        if number == 4:
            raise ValueError("exceeded quota")
        made.append(number)
        expectations.observe(OWNER, added(str(number)))

    with pytest.raises(SlowStartError, match="1 of 7 calls failed, 13 more were not made: exceeded quota") as caught:
        await slow_start(range(20), act, lowered=lambda _: expectations.lower(OWNER, creations=1))
    assert made == [0, 1, 2, 3, 5, 6]
    assert (caught.value.done, caught.value.failed, caught.value.skipped) == (6, 1, 13)
    assert isinstance(caught.value.__cause__, ValueError)
    assert expectations.is_satisfied(OWNER)


@virtual_time
@pytest.mark.scenario("EX4", "EX1")
async def test_what_a_reconcile_that_was_cut_off_never_made_is_no_longer_expected(clock: VirtualClock) -> None:
    """Its owner would wait for five minutes; what was under way may have been done, so that is waited for."""
    lowered: list[int] = []

    async def act(_: int) -> None:
        await clock.sleep(1)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2.5):
            await slow_start(range(20), act, lowered=lowered.append)
    assert lowered == [*range(7, 20)]
