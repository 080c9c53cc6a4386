"""State machines: whatever is done to a queue in whatever order, it does what a small model of its rules does."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest
from attrs import define
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from prometheus_client import CollectorRegistry

from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.queue.waiting import AGEING_S, AGEING_TURN
from kaito_controller.machinery.queue.workqueue import QueueShutDown, WorkQueue
from kaito_controller.testing.clock import VirtualClock, VirtualLoop, cancelled, settle

ITEMS = st.sampled_from("abcdef")
DELAYS = st.sampled_from([-1, 0, 1, 2, 5, 30])
PRIORITIES = st.sampled_from([-100, -1, 0, 7])
SETTINGS = settings(max_examples=80, stateful_step_count=60, deadline=None)


class QueueMachine(RuleBasedStateMachine):
    """A queue in virtual time, and what both machines do with it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.loop = VirtualLoop(self.clock)
        self.registry = CollectorRegistry()
        self.queue: WorkQueue[str] = self.loop.run_until_complete(self._make())
        self.held: list[str] = []

    async def _make(self) -> WorkQueue[str]:
        return WorkQueue(self.clock, name="q", metrics=Metrics(self.registry))

    def teardown(self) -> None:
        async def end() -> None:
            self.queue.shut_down(drain=False)

        self.loop.run_until_complete(end())
        self.loop.close()

    def do(self, method: str, *args: object, **more: object) -> None:
        """Call a plain method inside the loop."""

        async def call() -> None:
            getattr(self.queue, method)(*args, **more)

        self.loop.run_until_complete(call())

    def take(self) -> str | None:
        """What get() gives in this instant; None when it waits."""

        async def attempt() -> str | None:
            task = asyncio.create_task(self.queue.get())
            await settle(5)
            if task.done():
                return task.result()
            await cancelled(task)
            return None

        return self.loop.run_until_complete(attempt())

    def wait(self, seconds: float) -> None:
        self.loop.run_until_complete(self.clock.sleep(seconds))

    def metric(self, name: str, **labels: str) -> float:
        found = self.registry.get_sample_value(f"workqueue_{name}", {"name": "q", "controller": "q", **labels})
        return found or 0.0


class PlainMachine(QueueMachine):
    """Without priorities: client-go's own picture of a queue, an order, a dirty set, and what is being processed."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []
        self.dirty: set[str] = set()
        self.deadlines: dict[str, tuple[float, int]] = {}
        self.numbers = count()
        self.is_shut_down = False

    def _add(self, item: str) -> None:
        self.deadlines.pop(item, None)
        if item not in self.dirty:
            self.dirty.add(item)
            if item not in self.held:
                self.order.append(item)

    @rule(item=ITEMS)
    def add(self, item: str) -> None:
        self.do("add", item)
        if not self.is_shut_down:
            self._add(item)

    @rule(item=ITEMS, seconds=DELAYS)
    def add_after(self, item: str, seconds: int) -> None:
        self.do("add_after", item, seconds)
        self._add_after(item, seconds)

    @rule(item=ITEMS)
    def fail(self, item: str) -> None:
        seconds = 0.005 * 2 ** self.queue.failures(item)
        self.do("add_rate_limited", item)
        self._add_after(item, seconds)

    def _add_after(self, item: str, seconds: float) -> None:
        if self.is_shut_down:
            return
        if seconds <= 0:
            self._add(item)
        elif item not in self.dirty:
            deadline = (self.clock.monotonic() + seconds, next(self.numbers))
            if item not in self.deadlines or deadline[0] < self.deadlines[item][0]:
                self.deadlines[item] = deadline

    @rule(item=ITEMS)
    def forget(self, item: str) -> None:
        self.do("forget", item)
        assert self.queue.failures(item) == 0

    @rule(seconds=st.sampled_from([0.25, 1, 3, 60]))
    def time_passes(self, seconds: float) -> None:
        self.wait(seconds)
        for item, (deadline, _) in sorted(self.deadlines.items(), key=lambda pair: pair[1]):
            if deadline <= self.clock.monotonic():
                self._add(item)

    @rule()
    def get(self) -> None:
        if self.order:
            item = self.order.pop(0)
            assert item not in self.held
            assert self.take() == item
            self.dirty.discard(item)
            self.held.append(item)
        elif self.is_shut_down:
            with pytest.raises(QueueShutDown):
                self.take()
        else:
            assert self.take() is None

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 5))
    def done(self, which: int) -> None:
        item = self.held.pop(which % len(self.held))
        self.do("done", item)
        if item in self.dirty:
            self.order.append(item)

    @rule(item=ITEMS)
    def done_without_holding(self, item: str) -> None:
        if item not in self.held:
            self.do("done", item)

    @precondition(lambda self: not self.is_shut_down and len(self.dirty) > 2)
    @rule()
    def shut_down(self) -> None:
        self.do("shut_down")
        self.is_shut_down = True
        self.deadlines.clear()

    @invariant()
    def the_counts_agree(self) -> None:
        sizes = (len(self.queue), self.queue.delayed, self.queue.processing)
        assert sizes == (len(self.order), len(self.deadlines), len(self.held))
        assert self.metric("depth", priority="0") == len(self.dirty)


@define
class Ready:
    """In the model, an item that may be handed out or waits for done()."""

    priority: int
    line: int
    age: int = 0
    since: float = 0.0


class PriorityMachine(QueueMachine):
    """With priorities and ageing: a table of entries that is searched from end to end at each turn."""

    def __init__(self) -> None:
        super().__init__()
        self.ready: dict[str, Ready] = {}
        self.delayed: dict[str, tuple[float, int, int]] = {}
        self.numbers = count()
        self.passed_over = 0

    @rule(item=ITEMS, priority=PRIORITIES)
    def add(self, item: str, priority: int) -> None:
        self.do("add", item, priority=priority)
        self._add(item, priority, self.clock.monotonic())

    @rule(item=ITEMS, seconds=DELAYS, priority=PRIORITIES)
    def add_after(self, item: str, seconds: int, priority: int) -> None:
        self.do("add_after", item, seconds, priority=priority)
        now = self.clock.monotonic()
        if seconds <= 0 or item in self.ready:
            self._add(item, priority, now)
            return
        waiting = self.delayed.get(item)
        if waiting is None:
            self.delayed[item] = (now + seconds, next(self.numbers), priority)
            return
        deadline, number, known = waiting
        if now + seconds < deadline:
            deadline, number = now + seconds, next(self.numbers)
        self.delayed[item] = (deadline, number, max(known, priority))

    def _add(self, item: str, priority: int, now: float) -> None:
        _, _, known = self.delayed.pop(item, (0, 0, priority))
        entry = self.ready.get(item)
        if entry is None:
            self.ready[item] = Ready(max(known, priority), next(self.numbers), next(self.numbers), now)
        elif priority > entry.priority:
            entry.priority, entry.line = priority, next(self.numbers)

    @rule(seconds=st.sampled_from([1, 3, 11, 60]))
    def time_passes(self, seconds: int) -> None:
        self.wait(seconds)
        for item, (deadline, _, priority) in sorted(self.delayed.items(), key=lambda pair: pair[1]):
            if deadline <= self.clock.monotonic():
                self._add(item, priority, deadline)

    @rule(turns=st.integers(1, 8))
    def get(self, turns: int) -> None:
        for _ in range(turns):
            expected = self._choose()
            assert self.take() == expected
            if expected is None:
                return
            assert expected not in self.held
            assert self.queue.priority(expected) == self.ready.pop(expected).priority
            self.held.append(expected)

    def _choose(self) -> str | None:
        free = {item: entry for item, entry in self.ready.items() if item not in self.held}
        if not free:
            return None
        chosen = min(free, key=lambda item: (-free[item].priority, free[item].line))
        oldest = min(free, key=lambda item: free[item].age)
        if chosen != oldest and self.clock.monotonic() - free[oldest].since >= AGEING_S:
            self.passed_over += 1
            if self.passed_over >= AGEING_TURN:
                chosen = oldest
        if chosen == oldest:
            self.passed_over = 0
        return chosen

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 5), requeue=st.booleans())
    def done(self, which: int, requeue: bool) -> None:
        item = self.held[which % len(self.held)]
        if requeue:
            priority = self.queue.priority(item)
            self.do("add_after", item, 0)
            self._add(item, priority, self.clock.monotonic())
        self.held.remove(item)
        self.do("done", item)
        entry = self.ready.get(item)
        if entry is not None:
            entry.line, entry.age, entry.since = next(self.numbers), next(self.numbers), self.clock.monotonic()

    @invariant()
    def the_counts_agree(self) -> None:
        free = [item for item in self.ready if item not in self.held]
        assert (len(self.queue), self.queue.delayed) == (len(free), len(self.delayed))
        for priority in (-100, -1, 0, 7):
            waiting = sum(entry.priority == priority for entry in self.ready.values())
            assert self.metric("depth", priority=str(priority)) == waiting


@pytest.mark.scenario("WQ1", "WQ2", "WQ3", "WQ4", "WQ6", "WQ7", "RL5")
def test_the_queue_does_what_its_model_does() -> None:
    """Never two holders, dirty items run again, FIFO, the earliest deadline, and a shutdown that drains."""
    run_state_machine_as_test(PlainMachine, settings=SETTINGS)


@pytest.mark.scenario("PQ1", "PQ2", "PQ3", "PQ4", "PQ6", "PQ8")
def test_the_queue_with_priorities_does_what_its_model_does() -> None:
    """Max priority and min deadline, FIFO in a priority, held items skipped, and the turns of what waits long."""
    run_state_machine_as_test(PriorityMachine, settings=SETTINGS)
