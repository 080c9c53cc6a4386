"""Random operations on a workqueue, and what our queue makes of them.

client-go has no entry for "queued and delayed": an item that waits in line may have a delay beside it, and comes twice.
Ours, like controller-runtime's queue, has one entry an item (PQ2, PQ4). So a sequence never delays what waits in line,
and never adds what is delayed; everything else is drawn freely.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Final

from attrs import define, field

from kaito_controller.machinery.queue.workqueue import WorkQueue
from kaito_controller.testing.clock import VirtualClock, run

OPERATIONS: Final = (*("add", "add_after", "get") * 2, "add_rate_limited", "forget", "done", "done", "advance")
ITEMS: Final = tuple("abcdefgh")
DELAYS_MS: Final = (0, 1, 3, 7, 10, 10, 50)
STEPS_MS: Final = (1, 2, 5, 10, 40)
AFTER_DUE_S: Final = 1e-6
"""Steps go a little beyond whole milliseconds: sums of floats must not fall short of a deadline."""

Step = dict[str, Any]
Result = dict[str, Any]


@define
class _Known:
    """What is where, as far as the choice of the next step needs it."""

    now: int = 0
    line: list[str] = field(factory=list)
    held: list[str] = field(factory=list)
    again: set[str] = field(factory=set)
    delayed: dict[str, int] = field(factory=dict)
    failures: dict[str, int] = field(factory=dict)

    def add(self, item: str) -> None:
        if item in self.held:
            self.again.add(item)
        elif item not in self.line:
            self.line.append(item)

    def delay(self, item: str, milliseconds: int) -> None:
        if milliseconds <= 0:
            self.delayed.pop(item, None)
            self.add(item)
        else:
            self.delayed[item] = min(self.delayed.get(item, 1 << 60), self.now + milliseconds)

    def advance(self, milliseconds: int) -> None:
        self.now += milliseconds
        for item in sorted(self.delayed, key=lambda each: self.delayed[each]):
            if self.delayed[item] <= self.now:
                del self.delayed[item]
                self.add(item)

    def get(self) -> None:
        if self.line:
            self.held.append(self.line.pop(0))

    def fail(self, item: str) -> int:
        """How often it had failed before."""
        failures = self.failures.get(item, 0)
        self.failures[item] = failures + 1
        return failures

    def done(self, pick: int) -> None:
        if not self.held:
            return
        item = self.held.pop(pick % len(self.held))
        if item in self.again:
            self.again.discard(item)
            self.line.append(item)

    def waits(self, item: str) -> bool:
        return item in self.line or item in self.again


def sequence(seed: int, length: int) -> list[Step]:
    """A sequence of steps; the same for the same seed."""
    rng = Random(seed)  # noqa: S311 - draws a test's steps
    known = _Known()
    return [_step(rng, known) for _ in range(length)]


def _step(rng: Random, known: _Known) -> Step:
    """Draw one step that is possible; when the drawn one is not, time passes."""
    item = rng.choice(ITEMS)
    step: Step = {"do": rng.choice(OPERATIONS), "item": item}
    match step["do"]:
        case "get":
            known.get()
        case "done":
            step["pick"] = rng.randrange(100)
            known.done(step["pick"])
        case "forget":
            known.failures.pop(item, None)
        case "add" if item not in known.delayed:
            known.add(item)
        case "add_after" if not known.waits(item):
            step["ms"] = rng.choice(DELAYS_MS[1:] if item in known.delayed else DELAYS_MS)
            known.delay(item, step["ms"])
        case "add_rate_limited" if not known.waits(item):
            known.delay(item, 5 << known.fail(item))
        case _:
            step = {"do": "advance", "ms": rng.choice(STEPS_MS)}
            known.advance(step["ms"])
    return step


def play(steps: Sequence[Step]) -> list[Result]:
    """What our queue answers at each step: the item, how many wait, how often the item has failed."""

    async def scenario(clock: VirtualClock) -> list[Result]:
        queue: WorkQueue[str] = WorkQueue(clock, name="oracle")
        held: list[str] = []
        results = [await _play_step(queue, clock, held, step) for step in steps]
        queue.shut_down()
        return results

    return run(scenario)


async def _play_step(queue: WorkQueue[str], clock: VirtualClock, held: list[str], step: Step) -> Result:
    item = str(step.get("item", ""))
    if step["do"] in {"get", "done"}:
        item = ""
    match step["do"]:
        case "add":
            queue.add(item)
        case "add_after":
            queue.add_after(item, step["ms"] / 1000)
        case "add_rate_limited":
            queue.add_rate_limited(item)
        case "forget":
            queue.forget(item)
        case "advance":
            await clock.sleep(step["ms"] / 1000 + AFTER_DUE_S)
        case "get" if len(queue):
            item = await queue.get()
            held.append(item)
        case "done" if held:
            item = held.pop(step["pick"] % len(held))
            queue.done(item)
    return {"item": item, "length": len(queue), "failures": queue.failures(item)}
