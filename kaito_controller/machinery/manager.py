"""Starts the parts of an operator in order, keeps them running, and stops them in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from kaito_controller.machinery import healthz
from kaito_controller.machinery.cache import SYNC_TIMEOUT_S, Cache
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.election import ElectionThread
from kaito_controller.machinery.events import EventRecorder
from kaito_controller.machinery.healthz import Check, Endpoint
from kaito_controller.machinery.heartbeat import Heartbeat, Watchdog
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import Metrics

GRACE_S = 30.0
FLUSH_S = 2.0
"""How long the last events may take to be sent at the end."""

Address = tuple[str, int]

log = logger(__name__)


class Runnable(Protocol):
    """Something that runs as long as the operator does."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        ...

    @property
    def needs_leader(self) -> bool:
        """Whether it may only run while this process leads."""
        ...

    async def run(self, stop: asyncio.Event) -> None:
        """Run until asked to stop, then finish what is begun. An exception stops the operator."""
        ...


class GraceExceededError(Exception):
    """Something did not stop in time and was cut off."""


class Manager:
    """The life of one operator process.

    Start: probes and metrics, caches until synced, what needs no leader, election, what needs a leader (MG1). Stop:
    what runs, then caches, servers, the lease, and the last events (MG2). The first failure of a part stops everything
    and is raised by `run`.

    Args:
        election: None means that this process is alone and leads.
        probe_address: where /healthz and /readyz listen, as host and port; None for nowhere.
        metrics_address: where /metrics listens; None for nowhere.
        grace_s: how long parts may take to finish what they are at when asked to stop.
    """

    def __init__(
        self,
        cache: Cache,
        clock: Clock,
        metrics: Metrics,
        *,
        recorder: EventRecorder | None = None,
        election: ElectionThread | None = None,
        heartbeat: Heartbeat | None = None,
        watchdog: Watchdog | None = None,
        probe_address: Address | None = None,
        metrics_address: Address | None = None,
        grace_s: float = GRACE_S,
        sync_timeout_s: float = SYNC_TIMEOUT_S,
    ) -> None:
        self._cache = cache
        self._recorder = recorder
        self._election = election
        self._heartbeat = heartbeat or Heartbeat(clock)
        self._watchdog = watchdog
        self._grace_s = grace_s
        self._sync_timeout_s = sync_timeout_s
        self._runnables: list[Runnable] = []
        self._tasks: dict[asyncio.Task[None], Runnable] = {}
        self._background: list[asyncio.Task[None]] = []
        self._halt = asyncio.Event()
        self._is_ready = False
        self._is_started = False
        self._health: dict[str, Check] = {"ping": lambda: ""}
        self._readiness: dict[str, Check] = {
            "caches": lambda: "" if self._is_ready else "the first lists are not complete"
        }
        self._probe_address = probe_address
        self._metrics_address = metrics_address
        self._metrics = metrics
        self._endpoints: list[Endpoint] = []

    @property
    def heartbeat(self) -> Heartbeat:
        """The beat of the main loop, for the elector to ask."""
        return self._heartbeat

    @property
    def is_ready(self) -> bool:
        """Whether the caches have synced and nothing has begun to stop."""
        return self._is_ready

    def add(self, runnable: Runnable) -> None:
        """Have it run. Only before `run` is called.

        Raises:
            RuntimeError: the manager runs already.
        """
        if self._is_started:
            raise RuntimeError(f"{runnable.name}: the manager runs already; add it before run() is called")
        self._runnables.append(runnable)

    def add_health_check(self, name: str, check: Check) -> None:
        """One more check of /healthz; only before `run` is called."""
        self._health[name] = check

    def add_readiness_check(self, name: str, check: Check) -> None:
        """One more check of /readyz; only before `run` is called."""
        self._readiness[name] = check

    async def run(self, stop: asyncio.Event) -> None:
        """Run everything until `stop` is set or a part fails.

        Raises:
            AddressInUseError: a port is taken.
            CacheSyncError: the API server did not answer the first lists.
            GraceExceededError: a part had to be cut off.
            Exception: what a part failed with.
        """
        if self._is_started:
            raise RuntimeError("the manager was started already; make a new one")
        self._is_started = True
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            if await self._start(stopping):
                await self._run_until(stopping)
        finally:
            stopping.cancel()
            await self._shut_down()

    async def _start(self, stopping: asyncio.Task[Any]) -> bool:
        """Start the parts in order; False when asked to stop on the way (MG4)."""
        await self._listen()
        self._background.append(asyncio.create_task(self._heartbeat.run(), name="heartbeat"))
        if self._watchdog is not None:
            self._watchdog.start()
        if self._recorder is not None:
            self._background.append(asyncio.create_task(self._recorder.run(), name="events"))
        self._cache.start()
        if not await self._before(stopping, self._cache.wait_synced(self._sync_timeout_s)):
            return False
        self._is_ready = True
        log.info("caches have synced")
        self._launch(needs_leader=False)
        if self._election is not None and not await self._before(stopping, self._election.acquire()):
            return False
        self._launch(needs_leader=True)
        return True

    async def _listen(self) -> None:
        if self._probe_address is not None:
            host, port = self._probe_address
            flag = "--health-probe-bind-address"
            self._endpoints.append(healthz.probes(flag, host, port, health=self._health, ready=self._readiness))
        if self._metrics_address is not None:
            host, port = self._metrics_address
            self._endpoints.append(healthz.metrics("--metrics-bind-address", host, port, self._metrics.registry))
        for endpoint in self._endpoints:
            await endpoint.start()

    def _launch(self, *, needs_leader: bool) -> None:
        for runnable in self._runnables:
            if runnable.needs_leader == needs_leader:
                self._tasks[asyncio.create_task(runnable.run(self._halt), name=runnable.name)] = runnable

    async def _before(self, stopping: asyncio.Task[Any], work: Coroutine[Any, Any, None]) -> bool:
        """Do the work unless a stop or a failure comes first. False when a stop came."""
        task = asyncio.create_task(work)
        pending = {task, stopping, *self._tasks}
        try:
            while not task.done() and not stopping.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for ended in done - {stopping}:
                    ended.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        return not stopping.done()

    async def _run_until(self, stopping: asyncio.Task[Any]) -> None:
        pending = {stopping, *self._tasks}
        while not stopping.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for ended in done - {stopping}:
                ended.result()

    async def _shut_down(self) -> None:
        self._is_ready = False
        log.info("stopping")
        overdue = await self._stop_runnables()
        await self._cache.stop()
        for endpoint in self._endpoints:
            await endpoint.stop()
        if self._election is not None:
            await self._election.release()
        await self._stop_background()
        log.info("stopped")
        if overdue:
            raise GraceExceededError(f"not stopped within {self._grace_s:g} s, so cut off: {', '.join(overdue)}")

    async def _stop_runnables(self) -> list[str]:
        """Ask all to stop, cut off those that do not, and name them."""
        self._halt.set()
        if not self._tasks:
            return []
        _, pending = await asyncio.wait(self._tasks, timeout=self._grace_s)
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)
        for task, runnable in self._tasks.items():
            error = None if task.cancelled() else task.exception()
            if error is not None:
                log.error("a part has failed", part=runnable.name, error=str(error) or type(error).__name__)
        return sorted(self._tasks[task].name for task in pending)

    async def _stop_background(self) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self._recorder is not None:
            try:
                async with asyncio.timeout(FLUSH_S):
                    await self._recorder.flush()
            except TimeoutError:
                log.warning("the last events could not be sent in time")
        if self._watchdog is not None:
            self._watchdog.stop()
