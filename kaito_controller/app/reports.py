"""Reads what pods report of themselves, through the API server's proxy and beside the reconciles.

The proxy needs no route from the operator to pods and no port that is open to others, and who may ask is RBAC's to say.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Final

from attrs import define, field

from inference_server import contract
from kaito_controller.controllers.workspace.reports import Target
from kaito_controller.kube.core import PODS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiConnectionError, ApiError, is_forbidden
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.reconcile.request import Request

AT_ONCE: Final = 8
"""Requests at a time."""
TIMEOUT_S: Final = 5.0
"""For one whole report."""
LOST_S: Final = 30.0
"""How long the last answer of a pod that does not answer any more still counts."""
SLOWEST_S: Final = 60.0
"""Between questions to a pod that stays silent: each takes one of the places for the whole of `TIMEOUT_S`."""

log = logger(__name__)


@define
class _Followed:
    """One pod that is asked: when it is next, how often it has kept silent since, what it said last and when."""

    target: Target
    period_s: float
    due: float
    silences: int = 0
    report: Object | None = None
    heard_at: float = 0.0
    asking: bool = False

    def put_off(self, now: float) -> None:
        """Say when it is asked again."""
        pause_s = min(max(SLOWEST_S, self.period_s), self.period_s * 2.0 ** min(self.silences, 8))
        self.due = now + pause_s


@define
class PodReports:
    """What the Workspace controller asks, and the part of the operator that reads the answers."""

    client: Client
    clock: Clock
    name: str = field(default="reports", init=False)
    needs_leader: bool = field(default=True, init=False)
    _followed: dict[Request, dict[str, _Followed]] = field(factory=dict, init=False)
    _queue: list[tuple[float, int, Request, _Followed]] = field(factory=list, init=False)
    _numbers: Iterator[int] = field(factory=count, init=False)
    _changed: asyncio.Event = field(factory=asyncio.Event, init=False)
    _gate: asyncio.Semaphore = field(factory=lambda: asyncio.Semaphore(AT_ONCE), init=False)
    _add: Callable[[Request], None] | None = field(default=None, init=False)
    _has_told: bool = field(default=False, init=False)

    def latest(self, who: Request) -> Mapping[str, Object]:
        """What the followed pods of `who` said last, by the pod's name."""
        followed = self._followed.get(who, {})
        return {one.target.name: one.report for one in followed.values() if one.report is not None}

    def follow(self, who: Request, targets: Sequence[Target], period_s: float) -> None:
        """Ask these pods and no others of `who` from now on, the first time at once."""
        if not targets:
            self.forget(who)
            return
        now, had = self.clock.monotonic(), self._followed.get(who, {})
        kept = {}
        for target in targets:
            one = kept[target.uid] = had.get(target.uid) or _Followed(target=target, period_s=period_s, due=now)
            sooner = not one.silences and now + period_s < one.due
            one.period_s = period_s
            if sooner:
                one.due = now + period_s
            if sooner or target.uid not in had:
                self._enqueue(who, one)
        self._followed[who] = kept

    def forget(self, who: Request) -> None:
        """Ask none of its pods any more."""
        self._followed.pop(who, None)

    async def run(self, stop: asyncio.Event) -> None:
        """Ask whoever is due, until told to stop."""
        asking: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            stopping = asyncio.create_task(stop.wait())
            try:
                while not stop.is_set():
                    self._changed.clear()
                    for who, one in self._due():
                        task = group.create_task(self._ask(who, one))
                        asking.add(task)
                        task.add_done_callback(asking.discard)
                    await self._wait(stopping)
            finally:
                # A pod that keeps silent may not hold up the end.
                stopping.cancel()
                for silent in asking:
                    silent.cancel()

    async def feed(self, add: Callable[[Request], None]) -> None:
        """Wake Workspaces by this call, until cancelled."""
        self._add = add
        await asyncio.Event().wait()

    def _enqueue(self, who: Request, one: _Followed) -> None:
        heappush(self._queue, (one.due, next(self._numbers), who, one))
        self._changed.set()

    def _due(self) -> list[tuple[Request, _Followed]]:
        """Those whose time has come. Entries of whom nobody follows, or who was put elsewhere, end here."""
        now, found = self.clock.monotonic(), []
        while self._queue and self._queue[0][0] <= now:
            due, _, who, one = heappop(self._queue)
            if due == one.due and not one.asking and self._is_followed(who, one):
                one.asking = True
                found.append((who, one))
        return found

    def _is_followed(self, who: Request, one: _Followed) -> bool:
        return self._followed.get(who, {}).get(one.target.uid) is one

    async def _wait(self, stopping: asyncio.Task[bool]) -> None:
        """Until somebody is due, somebody else is followed, or the end."""
        next_due = self._queue[0][0] if self._queue else None
        changed = asyncio.create_task(self._changed.wait())
        timer: asyncio.TimerHandle | None = None
        if next_due is not None:
            timer = self.clock.call_later(max(0.0, next_due - self.clock.monotonic()), self._changed.set)
        try:
            await asyncio.wait({changed, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
            if timer is not None:
                timer.cancel()

    async def _ask(self, who: Request, one: _Followed) -> None:
        async with self._gate:
            started = self.clock.monotonic()
            report = await self._read(one.target)
        now = self.clock.monotonic()
        one.asking = False
        one.silences = one.silences + 1 if report is None and now - started >= TIMEOUT_S else 0
        one.put_off(now)
        if self._is_followed(who, one):
            self._enqueue(who, one)
        if report is None and (one.report is None or now - one.heard_at < LOST_S):
            return
        differs = report != one.report
        one.report, one.heard_at = report, now
        if differs and self._add is not None and self._is_followed(who, one):
            self._add(who)

    async def _read(self, target: Target) -> Object | None:
        path = f"{PODS.path(target.namespace, f'{target.name}:{target.port}', 'proxy')}{contract.REPORT_PATH}"
        try:
            async with asyncio.timeout(TIMEOUT_S):
                raw = await self._bytes(path)
            report = json.loads(raw)
        except (ApiError, ApiConnectionError, TimeoutError, ValueError, RecursionError) as error:
            self._tell(target, error)
            return None
        return report if isinstance(report, dict) else None

    def _tell(self, target: Target, error: Exception) -> None:
        """An agent that starts is nobody's concern; an operator that may ask no pod at all is, once."""
        pod, why = f"{target.namespace}/{target.name}", str(error)[:200]
        if not is_forbidden(error) or self._has_told:
            log.debug("no report", pod=pod, why=why)
            return
        self._has_told = True
        log.warning("may not ask pods what they report; apply config/rbac of this version", pod=pod, why=why)

    async def _bytes(self, path: str) -> bytes:
        """The whole answer, which is given up when it is longer than a report may be."""
        raw = b""
        async with self.client.transport.stream("GET", path, idle_timeout_s=TIMEOUT_S) as chunks:
            async for chunk in chunks:
                raw += chunk
                if len(raw) > contract.REPORT_MAX_BYTES:
                    raise ValueError(f"longer than {contract.REPORT_MAX_BYTES} bytes")
        return raw
