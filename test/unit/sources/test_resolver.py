"""Answers that come later, in virtual time: nobody waits, everybody is woken, and failures are tried again in time."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from attrs import define, field

from kaito_controller.sources import resolver
from kaito_controller.sources.errors import SourceError, Trouble
from kaito_controller.sources.resolver import Failed, Found, Pending, Resolver
from kaito_controller.testing.clock import VirtualClock, settle, virtual_time

SECOND = 1.0


@define
class Source:
    """Something slow that may fail, and who was woken by what is read of it."""

    clock: VirtualClock
    takes_s: float = SECOND
    failures: list[Exception] = field(factory=list)
    read_at: list[tuple[str, float]] = field(init=False, factory=list)
    woken: list[tuple[str, float]] = field(init=False, factory=list)
    at_once: int = field(init=False, default=0)
    most: int = field(init=False, default=0)

    async def read(self, key: str) -> str:
        self.read_at.append((key, self.clock.monotonic()))
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await self.clock.sleep(self.takes_s)
        finally:
            self.at_once -= 1
        if self.failures:
            raise self.failures.pop(0)
        return f"{key} {len(self.read_at)}"

    def wake(self, who: str) -> None:
        self.woken.append((who, self.clock.monotonic()))

    def resolver(self, **options: float) -> Resolver[str, str, str]:
        return Resolver(read=self.read, wake=self.wake, clock=self.clock, rng=Random(1), **options)  # type: ignore[arg-type]


def failed(trouble: Trouble, retry_after_s: float | None = None) -> SourceError:
    return SourceError(trouble, "no", retry_after_s=retry_after_s)


@virtual_time
async def test_a_lookup_starts_one_reading_and_wakes_all_who_asked(clock: VirtualClock) -> None:
    """The first is told to wait, and so is the second; both find it afterwards."""
    source = Source(clock)
    answers = source.resolver()
    assert answers.lookup("m", "a") == Pending()
    assert answers.lookup("m", "b") == Pending()
    await clock.sleep(2)
    assert sorted(source.woken) == [("a", 1.0), ("b", 1.0)]
    found = answers.lookup("m", "c")
    assert isinstance(found, Found)
    assert found.value == "m 1"
    assert source.read_at == [("m", 0.0)]
    await answers.close()


@virtual_time
async def test_few_are_read_at_a_time_and_the_others_wait(clock: VirtualClock) -> None:
    """Their own deadline begins with their turn."""
    source = Source(clock)
    answers = source.resolver(at_once=2, deadline_s=1.5)
    for number in range(6):
        answers.lookup(f"m{number}", "a")
    await clock.sleep(4)
    assert source.most == 2
    assert [at for _, at in source.read_at] == [0, 0, 1, 1, 2, 2]
    assert all(isinstance(answers.lookup(f"m{number}", "a"), Found) for number in range(6))
    await answers.close()


@virtual_time
async def test_a_failure_stands_until_it_is_time_and_while_it_is_tried_again(clock: VirtualClock) -> None:
    """Whoever asked is woken at the failure, at the time of the next try, and when that ends."""
    source = Source(clock, failures=[failed(Trouble.UNREACHABLE)])
    answers = source.resolver()
    answers.lookup("m", "a")
    await clock.sleep(1.5)
    first = answers.lookup("m", "a")
    assert isinstance(first, Failed)
    assert (first.trouble, first.message) == (Trouble.UNREACHABLE, "no")
    wait = (first.retry_at - clock.now()).total_seconds()
    assert 9.5 <= wait <= 12
    await clock.sleep(wait + 0.001)
    assert [at for _, at in source.woken] == [1, pytest.approx(1.5 + wait)]
    assert answers.lookup("m", "a") == first
    await clock.sleep(1.5)
    assert len(source.woken) == 3
    assert isinstance(answers.lookup("m", "a"), Found)
    await answers.close()


@virtual_time
async def test_nobody_asks_for_what_nobody_wants_any_more(clock: VirtualClock) -> None:
    """A failure is tried again by who looks it up, not by itself."""
    source = Source(clock, failures=[failed(Trouble.UNREACHABLE)])
    answers = source.resolver()
    answers.lookup("m", "a")
    await clock.sleep(10_000)
    assert len(source.read_at) == 1
    await answers.close()


@virtual_time
async def test_waits_grow_with_each_failure_up_to_ten_minutes(clock: VirtualClock) -> None:
    """And start over after a success."""
    source = Source(clock, failures=[failed(Trouble.BUSY) for _ in range(9)], takes_s=0)
    answers = source.resolver()
    waits = []
    for _ in range(9):
        answers.lookup("m", "a")
        await settle()
        now = answers.lookup("m", "a")
        assert isinstance(now, Failed)
        waits.append((now.retry_at - clock.now()).total_seconds())
        await clock.sleep(waits[-1] + 0.001)
    for number, wait in enumerate(waits):
        assert min(10 * 2**number, 600) <= wait <= 1.25 * min(10 * 2**number, 600) + 0.001
    answers.lookup("m", "a")
    await settle()
    assert isinstance(answers.lookup("m", "a"), Found)
    await answers.close()


@pytest.mark.parametrize(
    ("error", "least", "most"),
    [
        (failed(Trouble.BUSY, 900.0), 900, 900),
        (failed(Trouble.MISSING), 600, 750),
        (failed(Trouble.MALFORMED), 600, 750),
        (ValueError("bug"), 10, 12.5),
    ],
)
@virtual_time
async def test_how_long_a_failure_holds(clock: VirtualClock, error: Exception, least: float, most: float) -> None:
    """As the server asks; longer where time alone does not help; a bug of ours stops nobody else."""
    source = Source(clock, failures=[error], takes_s=0)
    answers = source.resolver()
    answers.lookup("m", "a")
    await settle()
    now = answers.lookup("m", "a")
    assert isinstance(now, Failed)
    assert least <= (now.retry_at - clock.now()).total_seconds() <= most
    assert "bug" not in now.message
    await answers.close()


@virtual_time
async def test_a_reading_that_takes_too_long_is_given_up(clock: VirtualClock) -> None:
    """A server that sends a byte a minute."""
    source = Source(clock, takes_s=1e6)
    answers = source.resolver()
    answers.lookup("m", "a")
    await clock.sleep(resolver.DEADLINE_S + 1)
    now = answers.lookup("m", "a")
    assert isinstance(now, Failed)
    assert "reading takes at most 300 s" in now.message
    await answers.close()


@virtual_time
async def test_an_old_answer_is_given_while_it_is_read_anew(clock: VirtualClock) -> None:
    """Prices change; a failure to read them again takes nothing away."""
    source = Source(clock, failures=[])
    answers = source.resolver(holds_s=100)
    answers.lookup("m", "a")
    await clock.sleep(50)
    source.failures.append(failed(Trouble.UNREACHABLE))
    assert len(source.read_at) == 1
    await clock.sleep(60)
    old = answers.lookup("m", "a")
    await clock.sleep(2)
    assert isinstance(old, Found)
    assert answers.lookup("m", "a") == old
    assert len(source.read_at) == 2
    await clock.sleep(20)
    answers.lookup("m", "a")
    await clock.sleep(2)
    new = answers.lookup("m", "a")
    assert isinstance(new, Found)
    assert (new.value, new.at > old.at) == ("m 3", True)
    await answers.close()


@virtual_time
async def test_what_was_not_asked_for_longest_is_forgotten(clock: VirtualClock) -> None:
    """Memory has a bound."""
    source = Source(clock, takes_s=0)
    answers = source.resolver(kept=2)
    for key in ("a", "b", "c"):
        answers.lookup(key, "w")
        await settle()
    assert answers.lookup("a", "w") == Pending()
    assert isinstance(answers.lookup("c", "w"), Found)
    await answers.close()


@virtual_time
async def test_more_than_can_wait_are_told_to_come_back(clock: VirtualClock) -> None:
    """Ten thousand Workspaces after a restart, each with another model."""
    source = Source(clock)
    answers = source.resolver()
    states = [answers.lookup(f"m{number}", "w") for number in range(resolver.UNDER_WAY + 1)]
    assert states[-2] == Pending()
    last = states[-1]
    assert isinstance(last, Failed)
    assert last.trouble is Trouble.BUSY
    await answers.close()


@virtual_time
async def test_what_is_forgotten_is_read_anew(clock: VirtualClock) -> None:
    """As after a Secret has changed."""
    source = Source(clock, failures=[failed(Trouble.DENIED)], takes_s=0)
    answers = source.resolver()
    answers.lookup("m", "a")
    await settle()
    answers.forget("m")
    assert answers.lookup("m", "a") == Pending()
    await settle()
    assert isinstance(answers.lookup("m", "a"), Found)
    await answers.close()


@virtual_time
async def test_an_operator_that_halts_leaves_no_reading_behind(clock: VirtualClock) -> None:
    """Nothing begins afterwards."""
    source = Source(clock)
    answers = source.resolver()
    halt = asyncio.Event()
    running = asyncio.ensure_future(answers.run(halt))
    answers.lookup("m", "a")
    await settle()
    halt.set()
    await running
    assert source.at_once == 0
    assert isinstance(answers.lookup("n", "a"), Failed)
    assert source.woken == []
