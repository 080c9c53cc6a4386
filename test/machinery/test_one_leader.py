"""One leader at most: contenders under every fault that a network, a clock or a process can show."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.election.elector import LeaderElector
from kaito_controller.machinery.election.leadership import Durations, LeadershipLostError
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.testing.clock import VirtualClock, cancelled, run
from kaito_controller.testing.leases import LeaseNetwork, LeaseServer, SkewedClock

METRICS = Metrics()
CONTENDERS = 4
LEADER = -1
"""In a fault: whoever leads then, since what happens to the others harms nobody."""
QUIET_S = 120.0
"""After the last fault: two lease durations, two waits with jitter and two hung requests, with room to spare."""

Fault = tuple[float, int, str]

FAULTS = st.lists(
    st.tuples(
        st.floats(0, 300),
        st.sampled_from([LEADER, LEADER, *range(CONTENDERS)]),
        st.sampled_from(["cut", "hang", "deaf", "slow", "late", "stall", "heal", "restart"]),
    ),
    min_size=5,
    max_size=40,
)
# A wall clock may be wrong by days. Speeds differ by less than the share that lease and renew deadline leave: 15 / 10.
CLOCKS = st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0.9, 1.1)), min_size=CONTENDERS, max_size=CONTENDERS)


@define
class Contender:
    """A process that contends again under a new name whenever it has lost or was restarted."""

    number: int
    clock: SkewedClock
    network: LeaseNetwork
    leaders: set[int]
    durations: Durations
    is_stuck: bool = False
    lives: int = 0
    reigns: int = 0
    task: asyncio.Task[None] | None = field(default=None)

    async def live(self) -> None:
        while True:
            self.lives += 1
            elector = LeaderElector(
                client=Client(self.network),
                clock=self.clock,
                rng=Random(self.lives),
                metrics=METRICS,
                namespace="kaito",
                name="lease",
                identity=f"{self.number}-{self.lives}",
                may_renew=lambda: not self.is_stuck,
                durations=self.durations,
            )
            try:
                await elector.acquire()
                self.leaders.add(self.number)
                self.reigns += 1
                assert self.leaders == {self.number}, f"two believe to lead: {self.leaders}"
                with suppress(LeadershipLostError):
                    await elector.hold()
            finally:
                self.leaders.discard(self.number)

    def suffer(self, fault: str) -> None:
        """Have one fault from now on, in place of the one before."""
        network = self.network
        network.is_cut, network.hangs = fault == "cut", fault == "hang"
        network.loses_answers = fault == "deaf"
        network.delay_s = {"slow": 8.0, "late": 40.0}.get(fault, 0.3)
        self.is_stuck = fault == "stall"

    def restart(self) -> None:
        """End the process as if it was killed: nothing is released."""
        assert self.task is not None
        self.task.cancel()
        self.task = asyncio.create_task(self.live())


async def election(clock: VirtualClock, faults: list[Fault], skews: list[tuple[float, float]], seed: int) -> None:
    server, leaders = LeaseServer(clock), set[int]()
    durations = Durations()
    contenders = []
    for number, (offset_s, rate) in enumerate(skews):
        network = LeaseNetwork(clock, server, Random(seed + number), delay_s=0.3)
        skewed = SkewedClock(clock=clock, offset_s=offset_s, rate=rate)
        contenders.append(Contender(number, skewed, network, leaders, durations))
    for contender in contenders:
        contender.task = asyncio.create_task(contender.live())
    for instant, number, fault in sorted(faults):
        await clock.sleep(instant - clock.monotonic())
        victim = contenders[next(iter(leaders), 0) if number == LEADER else number]
        if fault == "restart":
            victim.restart()
        else:
            victim.suffer(fault)
    await clock.sleep(60)
    for contender in contenders:
        contender.suffer("heal")
    await clock.sleep(QUIET_S)
    failures = [each.task.exception() for each in contenders if each.task is not None and each.task.done()]
    assert failures == []
    assert len(leaders) == 1, "nobody leads although nothing is in the way"
    holder = server.spec["holderIdentity"]
    assert holder.partition("-")[0] == str(*leaders)
    await cancelled(*[each.task for each in contenders if each.task is not None])


@pytest.mark.scenario("LE12")
@settings(max_examples=100, deadline=None)
@given(faults=FAULTS, skews=CLOCKS, seed=st.integers(0, 2**16))
def test_two_never_believe_to_lead(faults: list[Fault], skews: list[tuple[float, float]], seed: int) -> None:
    """One leader at most at any instant, and one once all is well.

    Under delays, partitions, hung requests, writes that arrive long after they were given up, lost answers, wrong and
    fast clocks, stuck and restarted processes.
    """
    run(lambda clock: election(clock, faults, skews, seed))


@pytest.mark.scenario("LE12")
def test_a_write_that_arrives_after_its_sender_gave_up_makes_no_second_leader() -> None:
    """The worst of all: the old leader's renewal is under way for 40 s and lands when another one leads."""
    faults: list[Fault] = [(5, 0, "late"), (5, 1, "late"), (60, 0, "hang"), (61, 1, "deaf"), (75, 0, "heal")]
    run(lambda clock: election(clock, faults, [(0, 1.0), (-1e5, 0.9), (1e5, 1.1), (7, 1.0)], 7))
