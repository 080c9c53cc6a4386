"""Leader election: how a lease is won, renewed, lost and given up."""

from __future__ import annotations

import asyncio
import itertools
from random import Random

import pytest

from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.election.elector import LeaderElector
from kaito_controller.machinery.election.leadership import Callbacks, Durations, LeadershipLostError
from kaito_controller.machinery.errors import ApiError
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.testing.clock import VirtualClock, cancelled, virtual_time
from kaito_controller.testing.leases import LeaseNetwork, LeaseServer, SkewedClock

METRICS = Metrics()


def elector_of(clock, network: LeaseNetwork, identity: str, **more) -> LeaderElector:
    known = {"namespace": "kaito", "name": "lease", "metrics": METRICS, "rng": Random(identity)}
    return LeaderElector(client=Client(network), clock=clock, identity=identity, **{**known, **more})


def sample(name: str) -> float | None:
    return METRICS.registry.get_sample_value(name, {"name": "lease"})


async def leading(clock: VirtualClock, **more) -> tuple[LeaseServer, LeaseNetwork, LeaderElector, asyncio.Task[None]]:
    """An elector that has won an empty lease and holds it."""
    server = LeaseServer(clock)
    network = LeaseNetwork(clock, server)
    elector = elector_of(clock, network, "a", **more)
    await elector.acquire()
    return server, network, elector, asyncio.create_task(elector.hold())


@pytest.mark.scenario("LE1")
@pytest.mark.parametrize(
    "wrong",
    [
        {"lease_s": 10},
        {"lease_s": 9},
        {"renew_deadline_s": 2.4},
        {"retry_s": 0},
        {"retry_s": -1},
        {"lease_s": 0},
        {"lease_s": -1},
        {"renew_deadline_s": 0},
        {"renew_deadline_s": -3},
    ],
)
def test_durations_that_would_allow_two_leaders_are_refused(wrong: dict[str, float]) -> None:
    """A leader must give up before others may take over, and try more than once until then; nothing is 0 or below."""
    with pytest.raises(ValueError, match="must"):
        Durations(**wrong)


@pytest.mark.scenario("LE1", "LE10")
@pytest.mark.parametrize("missing", ["identity", "name", "namespace"])
def test_a_contender_needs_an_identity_and_a_lease(missing: str) -> None:
    """Each of them is told by name."""
    clock = VirtualClock()
    with pytest.raises(ValueError, match=missing):
        elector_of(clock, LeaseNetwork(clock, LeaseServer(clock)), **{"identity": "a", missing: ""})


@pytest.mark.scenario("LE1")
@pytest.mark.parametrize("missing", ["on_started_leading", "on_stopped_leading", "on_new_leader"])
def test_every_callback_is_required(missing: str) -> None:
    """A contender that would lead unnoticed is refused before it starts."""

    async def work() -> None:
        return None

    given = {"on_started_leading": work, "on_stopped_leading": print, "on_new_leader": print}
    with pytest.raises(TypeError, match=missing):
        Callbacks(**{**given, missing: None})
    del given[missing]
    with pytest.raises(TypeError, match=missing):
        Callbacks(**given)


@pytest.mark.scenario("LE2", "LE3", "MX5")
@virtual_time
async def test_the_first_contender_creates_the_lease_and_leads_at_once(clock: VirtualClock) -> None:
    """There is no lease yet: GET, POST, and the gauge goes from 0 to 1."""
    server = LeaseServer(clock)
    elector = elector_of(clock, LeaseNetwork(clock, server), "a")
    assert sample("leader_election_master_status") == 0
    await elector.acquire()
    assert (clock.monotonic(), elector.is_leader, server.methods) == (0, True, ["GET", "POST"])
    assert server.spec == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": "2026-01-01T00:00:00.000000Z",
        "leaseTransitions": 0,
    }
    assert sample("leader_election_master_status") == 1
    await elector.release()
    assert sample("leader_election_master_status") == 0


@pytest.mark.scenario("LE3")
@virtual_time
async def test_who_loses_the_race_to_create_does_not_lead(clock: VirtualClock) -> None:
    """409 on create: another one was quicker, and its lease is waited out like any other."""
    server = LeaseServer(clock)
    server.refuse["POST"] = [ApiError(409, "AlreadyExists")]
    elector = elector_of(clock, LeaseNetwork(clock, server), "a")
    acquiring = asyncio.create_task(elector.acquire())
    await clock.sleep(1)
    assert not elector.is_leader
    server.put(holderIdentity="b", leaseDurationSeconds=15)
    await clock.sleep(14)
    assert not elector.is_leader
    await asyncio.wait_for(acquiring, 200)


@pytest.mark.scenario("LE2")
@virtual_time
async def test_tries_are_two_to_four_and_a_half_seconds_apart(clock: VirtualClock) -> None:
    """The first at once, then retry x (1 + 1.2 x U[0,1)): spread over the whole range, never outside it."""
    server = LeaseServer(clock)
    server.put(holderIdentity="other", leaseDurationSeconds=100_000)
    acquiring = asyncio.create_task(elector_of(clock, LeaseNetwork(clock, server), "a").acquire())
    await clock.sleep(2000)
    instants = [exchange.at for exchange in server.exchanges]
    waits = [later - earlier for earlier, later in itertools.pairwise(instants)]
    assert instants[0] == 0
    assert 2 <= min(waits) < 2.1
    assert 4.3 < max(waits) < 4.4
    await cancelled(acquiring)


@pytest.mark.scenario("LE3")
@virtual_time
async def test_a_lease_without_holder_is_taken_at_once(clock: VirtualClock) -> None:
    """Whatever the rest of the record says; taking it is a transition."""
    server = LeaseServer(clock)
    server.put(holderIdentity="", leaseDurationSeconds=3600, leaseTransitions=4, renewTime="2999-01-01T00:00:00.0Z")
    await elector_of(clock, LeaseNetwork(clock, server), "a").acquire()
    assert (clock.monotonic(), server.spec["holderIdentity"], server.spec["leaseTransitions"]) == (0, "a", 5)


@pytest.mark.scenario("LE3", "LE6")
@pytest.mark.parametrize("skew_s", [-86_400.0, 0.0, 86_400.0])
@pytest.mark.parametrize("renewed", ["2001-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z", None])
@virtual_time
async def test_a_held_lease_is_taken_once_it_was_seen_unchanged_for_its_duration(
    clock: VirtualClock, renewed: str | None, skew_s: float
) -> None:
    """Counted by the record's own 40 s from when I saw it change, on my monotonic clock; remote times play no part."""
    server = LeaseServer(clock)
    server.put(holderIdentity="b", leaseDurationSeconds=40, leaseTransitions=2, renewTime=renewed, acquireTime=renewed)
    await clock.sleep(100)
    elector = elector_of(SkewedClock(clock=clock, offset_s=skew_s), LeaseNetwork(clock, server), "a")
    acquiring = asyncio.create_task(elector.acquire())
    await clock.sleep(30)
    server.put(holderIdentity="b", renewTime="1999-01-01T00:00:00.000000Z")
    seen_by = 130 + 4.4
    await asyncio.wait_for(acquiring, 200)
    assert 130 + 40 < clock.monotonic() <= seen_by + 40 + 4.4
    assert (server.spec["holderIdentity"], server.spec["leaseTransitions"]) == ("a", 3)
    assert server.spec["acquireTime"] == server.spec["renewTime"]


@pytest.mark.scenario("LE3")
@virtual_time
async def test_a_change_of_labels_is_no_renewal(clock: VirtualClock) -> None:
    """Only the record counts; a new resourceVersion with the same record does not prolong the holder's time."""
    server = LeaseServer(clock)
    server.put(holderIdentity="b", leaseDurationSeconds=15)
    acquiring = asyncio.create_task(elector_of(clock, LeaseNetwork(clock, server), "a").acquire())
    for _ in range(20):
        if not acquiring.done():
            server.put()
            await clock.sleep(1)
    assert acquiring.done()
    await cancelled(acquiring)


@pytest.mark.scenario("LE3")
@virtual_time
async def test_a_deleted_lease_does_not_cut_its_holder_short(clock: VirtualClock) -> None:
    """Better than client-go: who was seen to hold it may still act, so its time is waited out all the same."""
    server = LeaseServer(clock)
    server.put(holderIdentity="b", leaseDurationSeconds=15)
    acquiring = asyncio.create_task(elector_of(clock, LeaseNetwork(clock, server), "a").acquire())
    await clock.sleep(1)
    server.delete()
    await asyncio.wait_for(acquiring, 200)
    assert 15 < clock.monotonic() <= 15 + 4.4


@pytest.mark.scenario("LE3")
@virtual_time
async def test_a_lease_that_a_lost_answer_won_is_taken_at_the_next_try(clock: VirtualClock) -> None:
    """The record names me, so nobody's time has to be waited out."""
    server = LeaseServer(clock)
    network = LeaseNetwork(clock, server, answer_s=1)
    acquiring = asyncio.create_task(elector_of(clock, network, "a").acquire())
    await clock.sleep(0.5)
    network.loses_answers = True
    await clock.sleep(1)
    assert server.methods == ["GET", "POST"]
    network.loses_answers = False
    await asyncio.wait_for(acquiring, 200)
    assert clock.monotonic() <= 1 + 5 + 4.4 + 2


class Answering(LeaseNetwork):
    """Takes requests to the server, and answers them with something else from a moment on."""

    answer: object = None
    since: float = 0.0

    async def request(self, method: str, path: str, **more):
        answered = await super().request(method, path, **more)
        return answered if self.clock.monotonic() < self.since else self.answer


HEAD = {"name": "lease", "namespace": "kaito", "resourceVersion": "7"}
OURS = {"holderIdentity": "a", "leaseDurationSeconds": 15}
NO_RENEWALS = {
    "nothing": {},
    "text": "<html>",
    "a status": {"kind": "Status", "metadata": {}, "status": "Success"},
    "another's": {"kind": "Lease", "metadata": HEAD, "spec": {**OURS, "holderIdentity": "b"}},
    "nobody's": {"kind": "Lease", "metadata": HEAD},
    "another lease": {"kind": "Lease", "metadata": {**HEAD, "name": "other"}, "spec": OURS},
    "without a version": {"kind": "Lease", "metadata": {"name": "lease", "namespace": "kaito"}, "spec": OURS},
    "a record that is text": {"kind": "Lease", "metadata": HEAD, "spec": "a"},
    "a number that is text": {"kind": "Lease", "metadata": HEAD, "spec": {**OURS, "leaseTransitions": "many"}},
}


@pytest.mark.scenario("LE4", "LE5")
@pytest.mark.parametrize("what", NO_RENEWALS)
@virtual_time
async def test_a_success_that_is_no_lease_of_ours_renews_nothing(clock: VirtualClock, what: str) -> None:
    """Something between the server and us says 200 to everything: leadership ends as after no answer, or a loss."""
    network = Answering(clock, LeaseServer(clock))
    network.answer, network.since = NO_RENEWALS[what], 7
    elector = elector_of(clock, network, "a")
    await elector.acquire()
    with pytest.raises(LeadershipLostError):
        await asyncio.wait_for(elector.hold(), 200)
    assert clock.monotonic() == {"another's": 8, "nobody's": 8}.get(what, 16)


@pytest.mark.scenario("LE3")
@pytest.mark.parametrize("what", NO_RENEWALS)
@virtual_time
async def test_a_success_that_is_no_lease_of_ours_makes_no_leader(clock: VirtualClock, what: str) -> None:
    """The contender goes on, and leads once it is answered like one that does."""
    network = Answering(clock, LeaseServer(clock))
    network.answer = NO_RENEWALS[what]
    elector = elector_of(clock, network, "a")
    acquiring = asyncio.create_task(elector.acquire())
    await clock.sleep(60)
    assert (acquiring.done(), elector.is_leader) == (False, False)
    network.since = 1000
    await asyncio.wait_for(acquiring, 200)
    await elector.release()


@pytest.mark.scenario("LE4", "LE5", "LE6")
@virtual_time
async def test_a_leader_renews_without_reading_at_once_and_every_two_seconds(clock: VirtualClock) -> None:
    """One PUT each with the version of the last answer; acquireTime and transitions are kept."""
    server, _, _, holding = await leading(clock)
    before = sample("leader_election_slowpath_total")
    await clock.sleep(61)
    assert server.methods == ["GET", "POST", *["PUT"] * 31]
    assert [exchange.at for exchange in server.exchanges[2:]] == [2.0 * number for number in range(31)]
    assert {write["acquireTime"] for write in server.writes} == {"2026-01-01T00:00:00.000000Z"}
    assert {write["leaseTransitions"] for write in server.writes} == {0}
    assert server.spec["renewTime"] == "2026-01-01T00:01:00.000000Z"
    assert sample("leader_election_slowpath_total") == before
    await cancelled(holding)


@pytest.mark.scenario("LE4")
@pytest.mark.parametrize(
    "error", [ApiError(409, "Conflict"), ApiError(500, "InternalError"), ApiError(404, "NotFound")]
)
@virtual_time
async def test_a_failed_renewal_is_followed_by_the_slow_path_at_once(clock: VirtualClock, error: ApiError) -> None:
    """Whatever the error: GET, then PUT with the version just read, counted; then the fast path again."""
    server, _, elector, holding = await leading(clock)
    before = sample("leader_election_slowpath_total") or 0
    await clock.sleep(1)
    server.put()
    server.refuse["PUT"] = [error]
    await clock.sleep(4)
    assert server.methods[-4:] == ["PUT", "GET", "PUT", "PUT"]
    assert [exchange.at for exchange in server.exchanges[-4:]] == [2, 2, 2, 4]
    assert (elector.is_leader, sample("leader_election_slowpath_total")) == (True, before + 1)
    await cancelled(holding)


@pytest.mark.scenario("LE5", "LE9")
@virtual_time
async def test_a_leader_that_cannot_renew_stops_after_the_renew_deadline(clock: VirtualClock) -> None:
    """Ten seconds after its last success, trying every two; the error says so and the gauge falls."""
    server, network, elector, holding = await leading(clock)
    await clock.sleep(7)
    network.is_cut = True
    with pytest.raises(LeadershipLostError, match="could not be renewed for 10 s"):
        await asyncio.wait_for(holding, 200)
    assert clock.monotonic() == pytest.approx(6 + 10)
    assert (elector.is_leader, sample("leader_election_master_status")) == (False, 0)
    writes = len(server.writes)
    network.is_cut = False
    await elector.release()
    assert len(server.writes) == writes


@pytest.mark.scenario("LE5")
@virtual_time
async def test_the_renew_deadline_cuts_a_hung_request(clock: VirtualClock) -> None:
    """Every request hangs from second 7 on: leadership still ends at 16, to the instant."""
    _, network, elector, holding = await leading(clock)
    await clock.sleep(7)
    network.hangs = True
    with pytest.raises(LeadershipLostError):
        await asyncio.wait_for(holding, 200)
    assert clock.monotonic() == pytest.approx(6 + 10)
    assert not elector.is_leader


@pytest.mark.scenario("LE10")
@virtual_time
async def test_one_hung_request_does_not_use_up_the_deadline(clock: VirtualClock) -> None:
    """Half the renew deadline is all that a request gets: the next one saves the lease."""
    server, network, elector, holding = await leading(clock)
    await clock.sleep(7)
    network.hangs = True
    await clock.sleep(2)
    network.hangs = False
    await clock.sleep(5)
    assert elector.is_leader
    assert server.exchanges[-1].at == pytest.approx(8 + 5)
    await cancelled(holding)


@pytest.mark.scenario("LE10")
def test_a_request_gets_half_the_deadline_and_a_second_at_least() -> None:
    """5 s of client-go's ten; never below 1 s."""
    assert Durations().request_s == 5
    assert Durations(lease_s=2, renew_deadline_s=1, retry_s=0.2).request_s == 1


@pytest.mark.scenario("LE12")
@virtual_time
async def test_the_renew_deadline_counts_from_the_request_not_from_its_answer(clock: VirtualClock) -> None:
    """Others count from the write, which may be long before we hear of it."""
    _, network, _, holding = await leading(clock)
    await clock.sleep(1)
    network.answer_s = 4.5
    await clock.sleep(6)
    network.hangs = True
    with pytest.raises(LeadershipLostError):
        await asyncio.wait_for(holding, 200)
    assert clock.monotonic() == pytest.approx(2 + 10)


@pytest.mark.scenario("LE12")
@virtual_time
async def test_an_answer_that_comes_too_late_makes_no_leader(clock: VirtualClock) -> None:
    """With a deadline below the time of a request, the lease is over before it is known to be won."""
    server = LeaseServer(clock)
    network = LeaseNetwork(clock, server, answer_s=0.45)
    durations = Durations(lease_s=0.6, renew_deadline_s=0.4, retry_s=0.1)
    elector = elector_of(clock, network, "a", durations=durations)
    acquiring = asyncio.create_task(elector.acquire())
    await clock.sleep(3)
    assert not elector.is_leader
    assert server.spec["holderIdentity"] == "a"
    network.answer_s = 0
    await asyncio.wait_for(acquiring, 200)
    assert elector.is_leader


@pytest.mark.scenario("LE9")
@virtual_time
async def test_a_leader_whose_main_loop_is_stuck_loses_the_lease(clock: VirtualClock) -> None:
    """It does not renew, so it stops leading after the renew deadline; a wedged process must not keep the lease."""
    alive = True
    _, _, _, holding = await leading(clock, may_renew=lambda: alive)
    await clock.sleep(21)
    alive = False
    with pytest.raises(LeadershipLostError):
        await asyncio.wait_for(holding, 200)
    assert clock.monotonic() == pytest.approx(20 + 10)


@pytest.mark.scenario("LE9")
@virtual_time
async def test_a_leader_that_sees_another_holder_stops_at_once(clock: VirtualClock) -> None:
    """Somebody else holds it, whatever our own clock says; client-go would try on until the deadline."""
    server, _, _, holding = await leading(clock)
    await clock.sleep(5)
    server.put(holderIdentity="thief")
    with pytest.raises(LeadershipLostError, match="held by thief"):
        await asyncio.wait_for(holding, 200)
    assert clock.monotonic() == 6


@pytest.mark.scenario("LE6")
@virtual_time
async def test_every_new_leader_is_told_also_the_first(clock: VirtualClock) -> None:
    """By its identity, once a change: an unchanged holder is no news, a release is."""
    server, told = LeaseServer(clock), list[str]()
    server.put(holderIdentity="b", leaseDurationSeconds=15)
    elector = elector_of(clock, LeaseNetwork(clock, server), "a")

    async def work() -> None:
        await asyncio.Event().wait()

    calls = Callbacks(on_started_leading=work, on_stopped_leading=lambda: None, on_new_leader=told.append)
    running = asyncio.create_task(elector.run(calls))
    await clock.sleep(10)
    assert (told, elector.leader) == (["b"], "b")
    server.put(holderIdentity="c")
    await clock.sleep(5)
    server.put(holderIdentity="")
    await clock.sleep(5)
    assert (told, elector.leader) == (["b", "c", "", "a"], "a") or (told, elector.leader) == (["b", "c", "a"], "a")
    await cancelled(running)
    assert told[-1] == ""


@pytest.mark.scenario("LE7", "LE8")
@virtual_time
async def test_work_ends_before_the_lease_is_given_up_and_stopped_is_told_last(clock: VirtualClock) -> None:
    """Cancelled, the work takes 30 s to end; the lease is renewed all that time, then released."""
    server, notes = LeaseServer(clock), list[tuple[float, str]]()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            notes.append((clock.monotonic(), "cancelled"))
            await clock.sleep(30)
            notes.append((clock.monotonic(), f"ended while {server.spec['holderIdentity']} holds"))

    def stopped() -> None:
        notes.append((clock.monotonic(), f"stopped, holder {server.spec['holderIdentity']!r}"))

    elector = elector_of(clock, LeaseNetwork(clock, server), "a")
    running = asyncio.create_task(
        elector.run(Callbacks(on_started_leading=work, on_stopped_leading=stopped, on_new_leader=lambda _: None))
    )
    await clock.sleep(5)
    await cancelled(running)
    assert notes == [(5, "cancelled"), (35, "ended while a holds"), (35, "stopped, holder ''")]
    assert server.spec["renewTime"] == "2026-01-01T00:00:35.000000Z"


@pytest.mark.scenario("LE8")
@virtual_time
async def test_who_is_cancelled_once_more_renews_no_longer(clock: VirtualClock) -> None:
    """A second cancellation, while the work is still ending, leaves no task that holds the lease for ever."""
    server = LeaseServer(clock)

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await clock.sleep(30)

    elector = elector_of(clock, LeaseNetwork(clock, server), "a")
    running = asyncio.create_task(
        elector.run(Callbacks(on_started_leading=work, on_stopped_leading=lambda: None, on_new_leader=lambda _: None))
    )
    await clock.sleep(5)
    running.cancel()
    await clock.sleep(5)
    await cancelled(running)
    writes = len(server.writes)
    await clock.sleep(60)
    assert len(server.writes) == writes
    assert server.spec["holderIdentity"] == ""


@pytest.mark.scenario("LE7")
@virtual_time
async def test_stopped_is_told_to_one_that_never_led(clock: VirtualClock) -> None:
    """It is cancelled while it waits for another's lease: nothing is written, and the callback runs once."""
    server, notes = LeaseServer(clock), list[str]()
    server.put(holderIdentity="b", leaseDurationSeconds=15_000)
    elector = elector_of(clock, LeaseNetwork(clock, server), "a")

    async def work() -> None:
        notes.append("led")

    calls = Callbacks(
        on_started_leading=work, on_stopped_leading=lambda: notes.append("stopped"), on_new_leader=lambda _: None
    )
    running = asyncio.create_task(elector.run(calls))
    await clock.sleep(20)
    await cancelled(running)
    assert (notes, server.writes) == (["stopped"], [])


@pytest.mark.scenario("LE7", "LE9")
@virtual_time
async def test_a_lost_lease_cancels_the_work_first_and_is_raised(clock: VirtualClock) -> None:
    """Work that does not end within the margin between deadline and lease is left behind by the raise."""
    server, notes = LeaseServer(clock), list[tuple[float, str]]()
    network = LeaseNetwork(clock, server)

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            notes.append((clock.monotonic(), "cancelled"))
            await clock.sleep(20)

    def stopped() -> None:
        notes.append((clock.monotonic(), "stopped"))

    elector = elector_of(clock, network, "a")
    running = asyncio.create_task(
        elector.run(Callbacks(on_started_leading=work, on_stopped_leading=stopped, on_new_leader=lambda _: None))
    )
    await clock.sleep(1)
    network.hangs = True
    with pytest.raises(LeadershipLostError):
        await running
    assert notes == [(10, "cancelled"), (15, "stopped")]
    assert server.spec["holderIdentity"] == "a"
    await clock.sleep(20)


@pytest.mark.scenario("LE7")
@virtual_time
async def test_failing_work_gives_the_lease_up_and_raises(clock: VirtualClock) -> None:
    """The next contender need not wait for a lease whose work is over."""
    server = LeaseServer(clock)
    elector = elector_of(clock, LeaseNetwork(clock, server), "a")

    async def work() -> None:
        await clock.sleep(3)
        raise RuntimeError("broke")

    calls = Callbacks(on_started_leading=work, on_stopped_leading=lambda: None, on_new_leader=lambda _: None)
    with pytest.raises(RuntimeError, match="broke"):
        await elector.run(calls)
    assert (clock.monotonic(), server.spec["holderIdentity"]) == (3, "")


@pytest.mark.scenario("LE8", "LE9")
@pytest.mark.parametrize("error", [KeyError("metadata"), asyncio.CancelledError()], ids=repr)
@virtual_time
async def test_a_renewal_that_breaks_releases_nothing_under_the_work(clock: VirtualClock, error: BaseException) -> None:
    """It is lost like one that ran out: guarded work may be in another thread, and still at it."""
    server = LeaseServer(clock)

    def renewable() -> bool:
        if clock.monotonic() > 10:
            raise error
        return True

    elector = elector_of(clock, LeaseNetwork(clock, server), "a", may_renew=renewable)
    calls = Callbacks(
        on_started_leading=asyncio.Event().wait, on_stopped_leading=lambda: None, on_new_leader=lambda _: None
    )
    with pytest.raises(LeadershipLostError, match="cannot be renewed any more"):
        await elector.run(calls)
    assert (clock.monotonic(), elector.is_leader) == (12, False)
    assert (server.spec["holderIdentity"], server.methods[-1]) == ("a", "PUT")
    assert len(server.writes) == 1 + 6


@pytest.mark.scenario("LE8")
@virtual_time
async def test_a_release_lets_the_next_one_lead_at_its_next_try(clock: VirtualClock) -> None:
    """GET, then PUT with no holder and one second; the next try, at most 4.4 s later, takes it."""
    server, network, first, holding = await leading(clock)
    second = elector_of(clock, network, "b")
    waiting = asyncio.create_task(second.acquire())
    await clock.sleep(10)
    await cancelled(holding)
    count = len(server.exchanges)
    await first.release()
    assert server.methods[count:] == ["GET", "PUT"]
    assert (server.spec["holderIdentity"], server.spec["leaseDurationSeconds"]) == ("", 1)
    await first.release()
    assert len(server.exchanges) == count + 2
    await asyncio.wait_for(waiting, 200)
    assert clock.monotonic() <= 10 + 4.4
    assert (second.is_leader, first.is_leader) == (True, False)


@pytest.mark.scenario("LE8")
@virtual_time
async def test_a_release_survives_conflicts_such_as_a_renewal_in_flight(clock: VirtualClock) -> None:
    """The renewal that was cut off arrives between the read and the write of the release: read and write again."""
    server, _, elector, holding = await leading(clock)
    await cancelled(holding)
    server.refuse["PUT"] = [ApiError(409, "Conflict"), ApiError(409, "Conflict")]
    await elector.release()
    assert server.methods[-6:] == ["GET", "PUT"] * 3
    assert server.spec["holderIdentity"] == ""


@pytest.mark.scenario("LE8")
@virtual_time
async def test_a_release_that_meets_conflict_after_conflict_floods_no_server(clock: VirtualClock) -> None:
    """It pauses, from 10 ms to the retry period, and gives up after the renew deadline."""
    server, _, elector, holding = await leading(clock)
    await cancelled(holding)
    server.refuse["PUT"] = [ApiError(409, "Conflict")] * 1000
    began = len(server.exchanges)
    await elector.release()
    tries = [exchange.at for exchange in server.exchanges[began:] if exchange.method == "PUT"]
    assert 8 <= len(tries) <= 13
    assert tries[1] < 0.02
    assert clock.monotonic() == 10


@pytest.mark.scenario("LE8")
@virtual_time
async def test_a_release_is_bounded_by_the_renew_deadline(clock: VirtualClock) -> None:
    """A server that never answers, or conflicts without end, costs ten seconds at most, and raises nothing."""
    _, network, elector, holding = await leading(clock)
    await clock.sleep(1)
    await cancelled(holding)
    network.hangs = True
    await elector.release()
    assert 1 < clock.monotonic() <= 1 + 10


@pytest.mark.scenario("LE8")
@virtual_time
async def test_what_is_not_ours_is_not_released(clock: VirtualClock) -> None:
    """One that never led asks nothing; one whose lease was taken meanwhile reads, and writes nothing."""
    server, network, elector, holding = await leading(clock)
    await elector_of(clock, network, "b").release()
    await cancelled(holding)
    server.put(holderIdentity="b")
    writes = len(server.writes)
    await elector.release()
    assert (len(server.writes), server.methods[-1]) == (writes, "GET")


@pytest.mark.scenario("LE8")
@virtual_time
async def test_a_lease_won_by_an_unanswered_write_is_given_up_too(clock: VirtualClock) -> None:
    """Cancelled between the write and its answer: the next one need not wait fifteen seconds for nobody."""
    server = LeaseServer(clock)
    network = LeaseNetwork(clock, server, answer_s=1)
    elector = elector_of(clock, network, "a")
    calls = Callbacks(
        on_started_leading=lambda: clock.sleep(0), on_stopped_leading=lambda: None, on_new_leader=lambda _: None
    )
    running = asyncio.create_task(elector.run(calls))
    await clock.sleep(1.5)
    assert (server.spec["holderIdentity"], elector.is_leader) == ("a", False)
    await cancelled(running)
    assert server.spec["holderIdentity"] == ""


@pytest.mark.scenario("LE11")
@virtual_time
async def test_only_a_leader_long_past_its_lease_is_unhealthy(clock: VirtualClock) -> None:
    """Not before 15 + 20 s since the last success; one that does not lead is healthy whatever it has seen."""
    _, network, elector, holding = await leading(clock)
    other = elector_of(clock, network, "b")
    waiting = asyncio.create_task(other.acquire())
    await cancelled(holding, waiting)
    assert [elector.check(), other.check()] == ["", ""]
    await clock.sleep(35)
    assert [elector.check(), other.check()] == ["", ""]
    await clock.sleep(0.1)
    assert [elector.check(), other.check()] == ["lease kaito/lease not renewed for 35 s", ""]
    assert elector.check(tolerance_s=30) == ""
