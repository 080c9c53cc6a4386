"""The election thread: its own loop beside the main one, and a clean end."""

from __future__ import annotations

import asyncio
import threading
from random import Random
from typing import Any

import pytest

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import Clock, RealClock
from kaito_controller.machinery.election.elector import LeaderElector
from kaito_controller.machinery.election.fence import FencedError, FencedTransport
from kaito_controller.machinery.election.leadership import Durations
from kaito_controller.machinery.election.thread import ElectionThread
from kaito_controller.machinery.errors import ApiConnectionError, ApiError
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.testing.transport import ScriptedTransport

EAGER = Durations(retry_s=0.05)
"""A lease that even a busy machine renews in time, and a thread that soon notices what happens."""
FLEETING = Durations(lease_s=0.6, renew_deadline_s=0.3, retry_s=0.05)
"""For a lease that is to be lost."""


class SkippingClock(RealClock):
    """The real clock, but its monotonic time can be put forward: so much passed while the process was frozen."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


class OneLease(ScriptedTransport):
    """Keeps a lease without looking at versions; can be cut off."""

    lease: Object | None = None
    is_cut = False
    is_closed = False

    async def request(self, method: str, path: str, *_: object, body: Object | None = None, **more: Any) -> Object:
        if "permit" in more:
            more["permit"]()
        if self.is_cut:
            raise ApiConnectionError(f"{method} {path}: no route")
        if method == "GET":
            if self.lease is None:
                raise ApiError(404, "NotFound")
            return self.lease
        self.lease = {**(body or {}), "metadata": {**(body or {})["metadata"], "resourceVersion": "1"}}
        return self.lease

    async def close(self) -> None:
        self.is_closed = True


def thread_on(
    transport: OneLease, lost: list[str], durations: Durations = EAGER, clock: Clock | None = None
) -> ElectionThread:
    def elector(client: Client) -> LeaderElector:
        return LeaderElector(
            client=client,
            clock=clock or RealClock(),
            rng=Random(1),
            metrics=Metrics(),
            namespace="ns",
            name="lease",
            identity="me",
            durations=durations,
        )

    return ElectionThread(lambda: transport, elector, lost.append)


def election_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "leader election"]


def wait_for_the_end() -> None:
    """Block the main loop, on purpose, until the thread has ended by itself."""
    for thread in election_threads():
        thread.join(60)


@pytest.mark.scenario("LE8")
async def test_a_release_gives_the_lease_up_and_ends_the_thread() -> None:
    """The holder is empty, the connections are closed, and nothing was reported as lost."""
    transport, lost = OneLease(RealClock()), list[str]()
    election = thread_on(transport, lost)
    await election.acquire()
    assert transport.lease is not None
    assert transport.lease["spec"]["holderIdentity"] == "me"
    await election.release()
    assert transport.lease["spec"]["holderIdentity"] == ""
    assert (lost, election_threads(), transport.is_closed) == ([], [], True)


@pytest.mark.scenario("LE9")
async def test_a_lost_lease_is_reported_once_even_while_the_main_loop_is_stuck() -> None:
    """The thread needs no turn of the main loop to end the process."""
    transport, lost = OneLease(RealClock()), list[str]()
    election = thread_on(transport, lost, FLEETING)
    await election.acquire()
    transport.is_cut = True
    wait_for_the_end()
    assert len(lost) == 1
    assert lost[0].startswith("leader election lost: ")
    await election.release()


@pytest.mark.scenario("LE9")
async def test_a_lost_lease_is_reported_before_connections_are_closed() -> None:
    """The next leader waits for no name that is still being resolved, so neither may the end of this one."""
    reported, lost = list[int](), list[str]()

    class Lingering(OneLease):
        async def close(self) -> None:
            reported.append(len(lost))
            await super().close()

    transport = Lingering(RealClock())
    election = thread_on(transport, lost, FLEETING)
    await election.acquire()
    transport.is_cut = True
    wait_for_the_end()
    assert reported == [1]
    await election.release()


@pytest.mark.scenario("LE9")
@pytest.mark.parametrize("leads", [True, False])
async def test_a_cancellation_that_nobody_asked_for_ends_no_election_in_silence(leads: bool) -> None:
    """A leader that nobody renews any more ends; a contender's wait for leadership does not go on for ever."""

    class Closing(OneLease):
        is_closing = not leads

        async def request(self, method: str, path: str, *_: object, **more: Any) -> Object:
            if self.is_closing:
                # As a request ends that waits for a connection of a pool that is closed.
                raise asyncio.CancelledError
            return await super().request(method, path, **more)

    transport, lost = Closing(RealClock()), list[str]()
    election = thread_on(transport, lost)
    if leads:
        await election.acquire()
        transport.is_closing = True
        wait_for_the_end()
        assert lost == ["leader election lost: lease ns/lease cannot be renewed any more: CancelledError()"]
    else:
        with pytest.raises(RuntimeError, match="was cancelled"):
            await asyncio.wait_for(election.acquire(), 60)
        assert lost == []
    await election.release()


@pytest.mark.scenario("LE7", "LE8", "MG4")
async def test_a_release_before_the_lease_was_won_ends_the_thread() -> None:
    """Whoever stops contending leaves no thread and no lease behind."""
    transport, lost = OneLease(RealClock()), list[str]()
    transport.lease = {
        "kind": "Lease",
        "metadata": {"namespace": "ns", "name": "lease", "resourceVersion": "1"},
        "spec": {"holderIdentity": "x", "leaseDurationSeconds": 60},
    }
    election = thread_on(transport, lost)
    acquiring = asyncio.create_task(election.acquire())
    await asyncio.sleep(0)
    acquiring.cancel()
    await election.release()
    assert (election_threads(), lost, transport.lease["spec"]["holderIdentity"]) == ([], [], "x")


@pytest.mark.scenario("LE9")
async def test_what_stops_the_thread_from_contending_is_raised() -> None:
    """A transport that cannot be made ends the wait for leadership with its own error."""

    def broken() -> OneLease:
        raise RuntimeError("no such file")

    election = ElectionThread(broken, lambda _: None, list[str]().append)
    with pytest.raises(RuntimeError, match="no such file"):
        await election.acquire()
    await election.release()


@pytest.mark.scenario("LE9")
async def test_a_leader_past_its_deadline_may_not_write() -> None:
    """A process that was frozen meanwhile finds its lease over: reads go through, writes do not, and it is reported."""
    transport, lost, clock = OneLease(RealClock()), list[str](), SkippingClock()
    election = thread_on(transport, lost, clock=clock)
    assert election.may_write()
    await election.acquire()
    fenced = FencedTransport(transport, election.may_write)
    assert (election.may_write(), election.check()) == (True, "")
    await fenced.request("PUT", "/lease", body=transport.lease)
    transport.is_cut = True
    clock.ahead_s = EAGER.renew_deadline_s + 1
    assert not election.may_write()
    wait_for_the_end()
    transport.is_cut = False
    assert (len(lost), election.may_write()) == (1, False)
    assert await fenced.request("GET", "/lease") == transport.lease
    with pytest.raises(FencedError, match="PUT /lease: not sent"):
        await fenced.request("PUT", "/lease", body=transport.lease)


@pytest.mark.scenario("EV7")
async def test_who_gave_the_lease_up_may_write_the_last_events() -> None:
    """What is sent after the election has ended is no work of a leader."""
    election = thread_on(OneLease(RealClock()), [])
    await election.acquire()
    await election.release()
    assert election.may_write()
