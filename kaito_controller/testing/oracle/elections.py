"""One contender for a Lease, client-go's or ours, against a server that keeps one Lease and interferes by script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from aiohttp import web
from attrs import define, field, frozen

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import RealClock
from kaito_controller.machinery.election.elector import LeaderElector
from kaito_controller.machinery.election.leadership import Callbacks, Durations, LeadershipLostError
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.transport import AioTransport
from kaito_controller.testing.loopback import listening, status, write_kubeconfig

IDENTITY = "contender"
OTHER = "somebody-else"
LEASE_S, RENEW_S, RETRY_S = 3.0, 1.6, 0.4
PATIENCE_S = 20.0


@frozen(kw_only=True)
class Contest:
    """What the server does.

    Attributes:
        holder: who holds the lease at first; None for no lease at all, "" for one that was given up.
        duration_s: the duration in that lease.
        refuse: requests, counted from 0, that are refused, by their status code.
        refuse_from: the request from which on all are refused with 500.
        stolen_at: the request before which somebody else takes the lease.
        over_after: writes of the contender after which it is told to stop; 0 lets it run until it loses.
    """

    name: str
    proves: tuple[str, ...]
    holder: str | None = None
    duration_s: int = 1
    refuse: Mapping[int, int] = field(factory=dict)
    refuse_from: int = 1 << 30
    stolen_at: int = -1
    over_after: int = 3

    def for_peer(self) -> dict[str, Any]:
        """What the Go program has to know."""
        return {
            "name": self.name,
            "identity": IDENTITY,
            "lease_s": LEASE_S,
            "renew_s": RENEW_S,
            "retry_s": RETRY_S,
        }


CONTESTS: Sequence[Contest] = (
    Contest(name="no-lease", proves=("LE3", "LE4", "LE6", "LE8")),
    Contest(name="given-up", proves=("LE3", "LE6"), holder=""),
    Contest(name="expired", proves=("LE3", "LE6"), holder=OTHER),
    Contest(name="its-own-from-before", proves=("LE6",), holder=IDENTITY),
    Contest(name="created-by-another", proves=("LE3",), refuse={1: 409}),
    Contest(name="conflict-at-renewal", proves=("LE4",), refuse={3: 409}),
    Contest(name="error-at-renewal", proves=("LE4",), refuse={3: 500}),
    Contest(name="error-at-first", proves=("LE2",), refuse={0: 500}),
    Contest(name="forbidden-at-first", proves=("LE2",), refuse={0: 403}),
    Contest(name="taken-over", proves=("LE5", "LE7", "LE9"), stolen_at=4, duration_s=30, over_after=0),
    Contest(name="taken-over-briefly", proves=("LE9",), stolen_at=4, over_after=6),
    Contest(name="server-gone", proves=("LE5", "LE7", "LE9"), refuse_from=4, over_after=0),
    Contest(name="conflict-at-release", proves=("LE8",), over_after=2, refuse={4: 409}),
)


@frozen(kw_only=True)
class Outcome:
    """Requests in words, repetitions of one or two once; callbacks in order; the leaders that were reported."""

    requests: tuple[str, ...]
    calls: tuple[str, ...]
    leaders: tuple[str, ...]
    problem: str = ""


@define
class _LeaseKeeper:
    """The server's side of one contest."""

    contest: Contest
    lease: Object | None = None
    requests: list[str] = field(factory=list)
    writes: int = 0
    over: asyncio.Event = field(factory=asyncio.Event)

    def __attrs_post_init__(self) -> None:
        if self.contest.holder is not None:
            self._hold(self.contest.holder)

    def _hold(self, holder: str) -> None:
        version = int(self.lease["metadata"]["resourceVersion"]) + 1 if self.lease else 1
        times = {"acquireTime": f"2026-01-01T00:00:{version:02}.000000Z"}
        times["renewTime"] = times["acquireTime"]
        spec = {"holderIdentity": holder, "leaseDurationSeconds": self.contest.duration_s, "leaseTransitions": 4}
        self.lease = _lease(version, spec | times)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        number = len(self.requests)
        body: Object | None = await request.json() if request.can_read_body else None
        self.requests.append(self._words(request.method, body))
        if number == self.contest.stolen_at:
            self._hold(OTHER)
        code = 500 if number >= self.contest.refuse_from else self.contest.refuse.get(number)
        if code is not None:
            reasons = {403: "Forbidden", 409: "AlreadyExists" if request.method == "POST" else "Conflict"}
            return status(code, reasons.get(code, "InternalError"))
        if body is None:
            return status(404, "NotFound") if self.lease is None else web.json_response(self.lease)
        return self._write(body)

    def _write(self, body: Object) -> web.StreamResponse:
        version = int(self.lease["metadata"]["resourceVersion"]) if self.lease else 0
        if version and str(version) != body["metadata"].get("resourceVersion"):
            return status(409, "Conflict")
        self.lease = _lease(version + 1, body["spec"])
        self.writes += 1
        if self.writes == self.contest.over_after:
            self.over.set()
        return web.json_response(self.lease, status=200 if version else 201)

    def _words(self, method: str, body: Object | None) -> str:
        """The request with what matters in its body: times as kept or new, the version as current or stale."""
        if body is None:
            return method
        spec, before = body["spec"], (self.lease or {}).get("spec", {})
        known = self.lease["metadata"]["resourceVersion"] if self.lease else None
        return " ".join(
            (
                method,
                f"holder={spec.get('holderIdentity') or 'nobody'}",
                f"seconds={spec['leaseDurationSeconds']}",
                f"transitions={spec.get('leaseTransitions', 0)}",
                f"acquired={'kept' if spec.get('acquireTime') == before.get('acquireTime') else 'now'}",
                f"renewed={'kept' if spec.get('renewTime') == before.get('renewTime') else 'now'}",
                f"version={'current' if body['metadata'].get('resourceVersion') == known else 'stale'}",
            )
        )


@define
class Arena:
    """The server of all contests: a folder each, and a door at which a contender waits to be told that it is over."""

    keepers: dict[str, _LeaseKeeper]
    url: str = field(init=False, default="")

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        _, door, name, *_ = request.path.split("/")
        keeper = self.keepers[name]
        if door == "over":
            await keeper.over.wait()
            return web.Response()
        return await keeper.answer(request)

    def outcome(self, name: str, calls: Sequence[str], leaders: Sequence[str], problem: str = "") -> Outcome:
        """The outcome with the requests that came."""
        # client-go tells its callbacks of a new leader from tasks of their own, in any order.
        return Outcome(
            requests=_folded(self.keepers[name].requests),
            calls=tuple(calls),
            leaders=tuple(sorted(leaders)),
            problem=problem,
        )


@asynccontextmanager
async def arena(contests: Sequence[Contest]) -> AsyncIterator[Arena]:
    """A server for these contests, from their beginning."""
    made = Arena({each.name: _LeaseKeeper(each) for each in contests})
    async with listening(made.serve) as url:
        made.url = url
        try:
            yield made
        finally:
            for keeper in made.keepers.values():
                keeper.over.set()


async def contend(contest: Contest, where: Arena, folder: Path) -> Outcome:
    """Our contender."""
    calls: list[str] = []
    leaders: list[str] = []

    async def lead() -> None:
        calls.append("started")
        await asyncio.Event().wait()

    url = f"{where.url}/s/{contest.name}"
    kubeconfig = write_kubeconfig(folder / f"{contest.name}.kubeconfig", url, user={})
    async with AioTransport(kubeconfig=kubeconfig) as transport:
        elector = LeaderElector(
            client=Client(transport),
            clock=RealClock(),
            rng=Random(contest.name),  # noqa: S311 - spreads waits, guards nothing
            metrics=Metrics(),
            namespace="default",
            name="contended",
            identity=IDENTITY,
            durations=Durations(lease_s=LEASE_S, renew_deadline_s=RENEW_S, retry_s=RETRY_S),
        )
        callbacks = Callbacks(
            on_started_leading=lead, on_stopped_leading=lambda: calls.append("stopped"), on_new_leader=leaders.append
        )
        running = asyncio.create_task(elector.run(callbacks))
        over = asyncio.create_task(where.keepers[contest.name].over.wait())
        done, _ = await asyncio.wait({running, over}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        over.cancel()
        ends = await asyncio.gather(running, over, return_exceptions=True)
    expected = (asyncio.CancelledError, LeadershipLostError)
    problem = "" if done and isinstance(ends[0], expected) else f"ended with {ends[0]!r}"
    return where.outcome(contest.name, calls, leaders, problem)


def _folded(lines: Sequence[str]) -> tuple[str, ...]:
    """How often a contender asks in vain, or renews, depends on the time that passes: twice tells as much as often."""
    made: list[str] = []
    for line in lines:
        made.append(line)
        for period in (1, 2):
            if len(made) >= 2 * period and made[-period:] == made[-2 * period : -period]:
                del made[-period:]
    return tuple(made)


def _lease(version: int, spec: Object) -> Object:
    head = {"name": "contended", "namespace": "default", "uid": "u", "resourceVersion": str(version)}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": head, "spec": spec}
