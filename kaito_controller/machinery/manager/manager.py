"""Starts the parts of an operator in order, keeps them running, and stops them in reverse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from kaito_controller.machinery.cache.cache import SYNC_TIMEOUT_S, Cache
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.events.recorder import EventRecorder
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.manager.parts import Election, Runnable, Server, WarmsUp
from kaito_controller.machinery.manager.runnables import Grace, RunnableGroup
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.process.heartbeat import Heartbeat, Watchdog, die
from kaito_controller.machinery.server import healthz
from kaito_controller.machinery.server.healthz import Check

GRACE_S: Final = 30.0
CLEAN_UP_S: Final = 2.0
"""How long closing informers and servers may take at least, even when the grace time is over."""
FLUSH_S: Final = 2.0
"""How long the last events may take to be sent at the end."""

Address = tuple[str, int]

log = logger(__name__)


class GraceExceededError(Exception):
    """Something did not stop in time and was cut off."""


class Manager:
    """The life of one operator process.

    Start: servers, caches until synced, what needs no leader, warm-ups, election, what needs a leader (MG1). Stop: what
    runs, then caches, servers, the lease, and the last events (MG2). The first failure of a part stops everything and
    is raised by `run`.

    Args:
        election: None means that this process is alone and leads.
        probe_address: where /healthz and /readyz listen, as host and port; None for nowhere.
        servers: what else listens, such as that of the metrics.
        grace_s: how long parts may take to finish what they are at when asked to stop; 0 cuts them off at once, which
            is then no error; below 0 they are waited for without end.
        on_synced: called once when the caches hold their first lists.
        on_stuck: ends the process when a part runs on although it was cut off: it may still write, so the lease is not
            given up, and nothing else would end it.
    """

    def __init__(
        self,
        cache: Cache,
        clock: Clock,
        metrics: Metrics,
        *,
        recorder: EventRecorder | None = None,
        election: Election | None = None,
        heartbeat: Heartbeat | None = None,
        watchdog: Watchdog | None = None,
        probe_address: Address | None = None,
        servers: Sequence[Server] = (),
        grace_s: float = GRACE_S,
        sync_timeout_s: float = SYNC_TIMEOUT_S,
        on_synced: Callable[[], None] | None = None,
        on_stuck: Callable[[str], None] = die,
    ) -> None:
        self._cache = cache
        self._clock = clock
        self._metrics = metrics
        self._recorder = recorder
        self._election = election
        self._heartbeat = heartbeat or Heartbeat(clock)
        self._watchdog = watchdog
        self._grace_s = grace_s
        self._sync_timeout_s = sync_timeout_s
        self._on_synced = on_synced
        self._on_stuck = on_stuck
        self._free = RunnableGroup("parts that need no leader", self._fail)
        self._guarded = RunnableGroup("parts that need to lead", self._fail)
        self._warming = RunnableGroup("warm-ups", self._fail)
        self._groups = (self._free, self._guarded, self._warming)
        self._background = RunnableGroup("parts of the manager", self._fail)
        self._failure: BaseException | None = None
        self._over = asyncio.Event()
        self._is_ready = False
        self._is_started = False
        self._health: dict[str, Check] = {}
        self._readiness: dict[str, Check] = {
            "caches": lambda: "" if self._is_ready else "the first lists are not complete"
        }
        self._probe_address = probe_address
        self._servers: list[Server] = list(servers)

    @property
    def heartbeat(self) -> Heartbeat:
        """The beat of the main loop, for the elector to ask."""
        return self._heartbeat

    @property
    def is_ready(self) -> bool:
        """Whether the caches have synced and nothing has begun to stop."""
        return self._is_ready

    def add(self, runnable: Runnable) -> None:
        """Have it run: in its turn of the start, or at once when that has passed.

        Raises:
            RuntimeError: the manager was asked to stop.
        """
        if runnable.needs_leader:
            if isinstance(runnable, WarmsUp) and runnable.warms_up:
                self._warming.add(f"{runnable.name} warm-up", runnable.warm_up)
            self._guarded.add(runnable.name, runnable.run)
        else:
            self._free.add(runnable.name, runnable.run)

    def add_health_check(self, name: str, check: Check) -> None:
        """One more check of /healthz. Raises RuntimeError once the manager runs."""
        self._add_check(self._health, name, check)

    def add_readiness_check(self, name: str, check: Check) -> None:
        """One more check of /readyz. Raises RuntimeError once the manager runs."""
        self._add_check(self._readiness, name, check)

    async def run(self, stop: asyncio.Event) -> None:
        """Run everything until `stop` is set or a part fails.

        Cancelled, it stops everything as it does when asked to. Cancelled while it stops, it gives parts no more time.

        Raises:
            AddressInUseError: a port is taken.
            CacheSyncError: the API server did not answer the first lists.
            GraceExceededError: a part had to be cut off.
            Exception: what a part failed with. With more than one cause, an ExceptionGroup of them.
        """
        if self._is_started:
            raise RuntimeError("the manager was started already; make a new one")
        self._is_started = True
        stopping = asyncio.create_task(self._forward(stop), name="stop")
        starting = asyncio.create_task(self._start(), name="start")
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done() and (error := starting.exception()):
                self._fail("start", error)
            await asyncio.wait({stopping})
        finally:
            ending = asyncio.create_task(self._end(stopping, starting), name="end")
            await self._see_through(ending)
        self._raise(ending.result())

    async def _start(self) -> None:
        """Start the parts in order; cancelled on the way when asked to stop (MG4)."""
        if self._probe_address is not None:
            host, port = self._probe_address
            flag = "--health-probe-bind-address"
            probes = healthz.probes(flag, host, port, health=self._health, ready=self._readiness)
            self._servers.insert(0, probes)
        for server in self._servers:
            await server.start()
        self._start_background()
        self._cache.start()
        await self._cache.wait_synced(self._sync_timeout_s)
        if self._on_synced is not None:
            self._on_synced()
        self._is_ready = True
        log.info("caches have synced")
        self._free.start()
        self._warming.start()
        if self._election is not None:
            await self._election.acquire()
        self._guarded.start()

    def _start_background(self) -> None:
        self._background.start()
        self._background.add("heartbeat", lambda _: self._heartbeat.run())
        self._background.add("caches", lambda _: self._cache.wait_failed())
        if self._watchdog is not None:
            self._watchdog.start()
        if self._recorder is not None:
            recorder = self._recorder
            self._background.add("events", lambda _: recorder.run())

    async def _forward(self, stop: asyncio.Event) -> None:
        """Return when asked to stop, or when a part has failed."""
        asked, over = asyncio.create_task(stop.wait()), asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait({asked, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            over.cancel()

    def _fail(self, part: str, error: BaseException) -> None:
        log.error("a part has failed", part=part, error=str(error) or type(error).__name__)
        self._failure = self._failure or error
        self._over.set()

    def _raise(self, overrun: GraceExceededError | None) -> None:
        errors = [error for error in (self._failure, overrun) if error is not None]
        if len(errors) > 1:
            raise BaseExceptionGroup("the operator failed, and did not stop in time either", errors)
        for error in errors:
            raise error

    async def _see_through(self, ending: asyncio.Task[Any]) -> None:
        """Wait for the end even if cancelled: a lease that is still renewed would outlive its leader."""
        cancellation: asyncio.CancelledError | None = None
        while not ending.done():
            try:
                await asyncio.wait({ending})
            except asyncio.CancelledError as error:
                cancellation = error
                for group in self._groups:
                    group.cut_off()
        if cancellation is not None:
            raise cancellation

    async def _end(self, *tasks: asyncio.Task[None]) -> GraceExceededError | None:
        for task in tasks:
            task.cancel()
            await asyncio.wait({task})
        return await self._shut_down()

    async def _shut_down(self) -> GraceExceededError | None:
        """Stop everything; what exceeded the grace time is returned."""
        self._is_ready = False
        log.info("stopping")
        grace = Grace(self._clock, self._grace_s)
        for group in self._groups:
            group.close()
        ends = [await group.stop(grace) for group in self._groups]
        overdue = [name for cut_off, _ in ends for name in cut_off]
        stuck = [name for _, deaf in ends for name in deaf]
        overdue += await self._clean_up("informers", self._cache.stop(), grace)
        for server in reversed(self._servers):
            overdue += await self._clean_up("server", server.stop(), grace)
        if stuck:
            self._on_stuck(f"{', '.join(stuck)}: still at work although cut off; the lease is left to run out")
        elif self._election is not None:
            await self._election.release()
        await self._stop_background()
        log.info("stopped")
        if not overdue or self._grace_s == 0:
            return None
        return GraceExceededError(f"not stopped within {self._grace_s:g} s, so cut off: {', '.join(overdue)}")

    async def _clean_up(self, name: str, work: Coroutine[Any, Any, None], grace: Grace) -> list[str]:
        """Close something of our own; returns its name when that took too long."""
        task = asyncio.create_task(work, name=name)
        left_s = grace.left_s()
        _, overdue = await asyncio.wait({task}, timeout=None if left_s is None else max(left_s, CLEAN_UP_S))
        if overdue:
            task.cancel()
            await asyncio.wait({task}, timeout=CLEAN_UP_S)
            return [name]
        if error := task.exception():
            log.error("a part has failed while stopping", part=name, error=str(error) or repr(error))
        return []

    async def _stop_background(self) -> None:
        # They know no request to stop: no time for that, they are cancelled.
        await self._background.stop(Grace(self._clock, 0))
        if self._recorder is not None:
            try:
                async with asyncio.timeout(FLUSH_S):
                    await self._recorder.close()
            except TimeoutError:
                log.warning("the last events could not be sent in time")
        if self._watchdog is not None:
            self._watchdog.stop()

    def _add_check(self, checks: dict[str, Check], name: str, check: Check) -> None:
        if self._is_started:
            raise RuntimeError(f"check {name!r}: the manager runs already; add it before run() is called")
        if name in checks:
            raise RuntimeError(f"check {name!r}: there is one of that name")
        checks[name] = check
