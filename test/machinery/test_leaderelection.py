"""Leader election: one leader at most, whatever the network and the clocks do, and a quick next one after a release."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.client import Client
from kaito_controller.machinery.errors import ApiConnectionError, ApiError
from kaito_controller.machinery.leaderelection import Durations, LeaderElector, LeadershipLostError
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.testing.clock import VirtualClock, cancelled, run, virtual_time
from kaito_controller.testing.transport import ScriptedTransport

METRICS = Metrics()


class Leases:
    """One Lease with the server's optimistic locking: what election rests on."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.version = 0
        self.writes: list[Object] = []

    def read(self) -> Object:
        if self.lease is None:
            raise ApiError(404, "NotFound")
        return {**self.lease, "metadata": dict(self.lease["metadata"])}

    def write(self, body: Object, *, create: bool) -> Object:
        if create and self.lease is not None:
            raise ApiError(409, "AlreadyExists")
        if not create and body["metadata"]["resourceVersion"] != str(self.version):
            raise ApiError(409, "Conflict")
        self.version += 1
        self.lease = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
        self.writes.append(self.lease)
        return self.read()


class Network(ScriptedTransport):
    """One contender's way to the lease: with delays, and cut in either direction."""

    def __init__(self, clock: VirtualClock, leases: Leases, seed: int = 0) -> None:
        super().__init__(clock)
        self._leases = leases
        self._rng = Random(seed)
        self.delay_s = 0.0
        self.answer_s = 0.0
        self.is_cut = False
        self.loses_answers = False

    async def request(self, method: str, *_: object, body: Object | None = None, **__: object) -> Object:
        await self.clock.sleep(self.delay_s * self._rng.random())
        if self.is_cut:
            await self.clock.sleep(self._rng.choice([0, 3, 1000]))
            raise ApiConnectionError("no route")
        create = method == "POST"
        answer = self._leases.read() if method == "GET" else self._leases.write(body or {}, create=create)
        await self.clock.sleep(self.answer_s + self.delay_s * self._rng.random())
        if self.loses_answers:
            raise ApiConnectionError("the answer was lost")
        return answer


def elector_of(clock: VirtualClock, transport: Network, identity: str, **more) -> LeaderElector:
    return LeaderElector(
        client=Client(transport),
        clock=clock,
        rng=Random(identity),
        metrics=METRICS,
        namespace="kaito",
        name="lease",
        identity=identity,
        **more,
    )


@pytest.mark.parametrize(
    "wrong", [{"lease_s": 10}, {"renew_deadline_s": 2.4}, {"retry_s": 0}, {"retry_s": -1}, {"lease_s": 0}]
)
def test_durations_that_would_allow_two_leaders_are_refused(wrong: dict[str, float]) -> None:
    """LE1: a leader must give up before others may take over, and try more than once until then."""
    with pytest.raises(ValueError, match="must"):
        Durations(**wrong)


def test_a_contender_needs_an_identity() -> None:
    """LE1."""
    clock = VirtualClock()
    with pytest.raises(ValueError, match="identity"):
        elector_of(clock, Network(clock, Leases()), "")


@virtual_time
async def test_the_first_contender_leads_at_once(clock: VirtualClock) -> None:
    """LE2, LE3: no lease yet, so it is created and held."""
    leases = Leases()
    elector = elector_of(clock, Network(clock, leases), "a")
    await elector.acquire()
    assert (clock.monotonic(), elector.is_leader) == (0, True)
    assert leases.lease is not None
    assert leases.lease["spec"]["holderIdentity"] == "a"
    assert elector.metrics.registry.get_sample_value("leader_election_master_status", {"name": "lease"}) == 1


@virtual_time
async def test_a_held_lease_is_taken_when_it_was_seen_unchanged_for_its_duration(clock: VirtualClock) -> None:
    """LE3, LE6: counted from when I last saw it change, whatever it says; taking over counts a transition."""
    leases = Leases()
    first, second = elector_of(clock, Network(clock, leases), "a"), elector_of(clock, Network(clock, leases), "b")
    await first.acquire()
    assert leases.lease is not None
    leases.lease["spec"] |= {"renewTime": "2001-01-01T00:00:00.000000Z", "acquireTime": "2001-01-01T00:00:00.000000Z"}
    await clock.sleep(100)
    await second.acquire()
    assert 115 < clock.monotonic() <= 115 + 4.4
    spec = leases.lease["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("b", 1)
    assert spec["acquireTime"] > "2026"


@virtual_time
async def test_a_leader_renews_without_reading_every_two_seconds(clock: VirtualClock) -> None:
    """LE4, LE5, LE6: one PUT each, acquireTime and transitions kept."""
    leases = Leases()
    elector = elector_of(clock, Network(clock, leases), "a")
    await elector.acquire()
    holding = asyncio.create_task(elector.hold())
    await clock.sleep(61)
    assert len(leases.writes) == 1 + 30
    assert {write["spec"]["acquireTime"] for write in leases.writes} == {leases.writes[0]["spec"]["acquireTime"]}
    assert {write["spec"]["leaseTransitions"] for write in leases.writes} == {0}
    await cancelled(holding)


@virtual_time
async def test_a_leader_that_cannot_renew_stops_after_the_renew_deadline(clock: VirtualClock) -> None:
    """LE5, LE9: ten seconds after its last success, even if the request hangs; the error says so."""
    leases = Leases()
    network = Network(clock, leases, seed=3)
    elector = elector_of(clock, network, "a")
    await elector.acquire()
    holding = asyncio.create_task(elector.hold())
    await clock.sleep(7)
    network.is_cut = True
    with pytest.raises(LeadershipLostError, match="could not be renewed for 10 s"):
        await holding
    assert clock.monotonic() == pytest.approx(6 + 10)
    assert not elector.is_leader


@virtual_time
async def test_the_renew_deadline_counts_from_the_request_not_from_its_answer(clock: VirtualClock) -> None:
    """LE12: others count from the write, which may be long before we hear of it."""
    network = Network(clock, Leases())
    elector = elector_of(clock, network, "a")
    await elector.acquire()
    holding = asyncio.create_task(elector.hold())
    network.answer_s = 7
    await clock.sleep(9.5)
    network.is_cut = True
    with pytest.raises(LeadershipLostError):
        await holding
    assert clock.monotonic() == pytest.approx(2 + 10)


@virtual_time
async def test_a_leader_whose_main_loop_is_stuck_loses_the_lease(clock: VirtualClock) -> None:
    """Design 10: it does not renew, so it stops leading after the renew deadline."""
    leases, alive = Leases(), True
    elector = elector_of(clock, Network(clock, leases), "a", may_renew=lambda: alive)
    await elector.acquire()
    holding = asyncio.create_task(elector.hold())
    await clock.sleep(21)
    alive = False
    with pytest.raises(LeadershipLostError):
        await holding
    assert clock.monotonic() == pytest.approx(20 + 10)


@virtual_time
async def test_a_leader_that_sees_another_holder_stops_at_once(clock: VirtualClock) -> None:
    """LE9: somebody else holds it, whatever our own clock says."""
    leases = Leases()
    elector = elector_of(clock, Network(clock, leases), "a")
    await elector.acquire()
    holding = asyncio.create_task(elector.hold())
    await clock.sleep(5)
    stolen = leases.read()
    leases.write({**stolen, "spec": {**stolen["spec"], "holderIdentity": "thief"}}, create=False)
    with pytest.raises(LeadershipLostError):
        await holding
    assert clock.monotonic() < 5 + 5


@virtual_time
async def test_a_release_lets_the_next_one_lead_at_its_next_try(clock: VirtualClock) -> None:
    """LE8: holder empty; the next try, at most 4.4 s later, takes it."""
    leases = Leases()
    first, second = elector_of(clock, Network(clock, leases), "a"), elector_of(clock, Network(clock, leases), "b")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await clock.sleep(10)
    await first.release()
    await first.release()
    await waiting
    assert clock.monotonic() <= 10 + 4.4
    assert second.is_leader
    assert not first.is_leader


@virtual_time
async def test_only_a_leader_releases(clock: VirtualClock) -> None:
    """LE8: one that never led writes nothing."""
    leases = Leases()
    await elector_of(clock, Network(clock, leases), "a").release()
    assert leases.writes == []


FAULTS = st.lists(
    st.tuples(st.floats(0, 120), st.integers(0, 2), st.sampled_from(["cut", "heal", "slow", "deaf", "stall"])),
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(faults=FAULTS, seed=st.integers(0, 2**16))
def test_two_never_believe_to_lead(faults: list[tuple[float, int, str]], seed: int) -> None:
    """LE12: three contenders under delays, partitions, lost answers and stuck loops; a loser starts anew."""

    async def scenario(clock: VirtualClock) -> None:
        leases = Leases()
        networks = [Network(clock, leases, seed + number) for number in range(3)]
        alive = [True] * 3
        leading: set[int] = set()

        async def contend(number: int) -> None:
            life = 0
            while True:
                life += 1
                elector = elector_of(clock, networks[number], f"{number}-{life}", may_renew=lambda: alive[number])
                await elector.acquire()
                leading.add(number)
                assert len(leading) == 1
                with suppress(LeadershipLostError):
                    await elector.hold()
                leading.discard(number)

        tasks = [asyncio.create_task(contend(number)) for number in range(3)]
        for instant, number, fault in sorted(faults):
            await clock.sleep(instant - clock.monotonic())
            network = networks[number]
            network.is_cut = fault == "cut"
            network.loses_answers = fault == "deaf"
            network.delay_s = 8.0 if fault == "slow" else 0.0
            alive[number] = fault != "stall"
        await clock.sleep(60)
        for number, network in enumerate(networks):
            network.is_cut = network.loses_answers = False
            network.delay_s, alive[number] = 0.0, True
        await clock.sleep(1100)
        failures = [task.exception() for task in tasks if task.done()]
        await cancelled(*tasks)
        assert failures == []
        assert len(leading) == 1

    run(scenario)
