"""A controller: feeds make requests, workers have them reconciled, failures come back later."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any, Final

from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.controller.feed import Failing, Feed, WatchFeed
from kaito_controller.machinery.controller.source import Watch
from kaito_controller.machinery.controller.worker import Worker
from kaito_controller.machinery.log import logger, unbound
from kaito_controller.machinery.metrics import ControllerMetrics, Metrics
from kaito_controller.machinery.queue.ratelimit import RateLimiter
from kaito_controller.machinery.queue.workqueue import WorkQueue
from kaito_controller.machinery.reconcile.request import Reconciler, Request, Result, TerminalError

__all__ = ["Controller", "FeedSyncError", "Reconciler", "Request", "Result", "TerminalError"]

RECONCILE_TIMEOUT_S: Final = 120.0
SYNC_TIMEOUT_S: Final = 120.0

log = logger(__name__)


class FeedSyncError(Exception):
    """What a controller watches could not be listed in time; the message says what, and why if that is known."""


class Controller:
    """Runs one reconciler over the requests that its feeds make.

    No exception of the reconciler ends it: it is logged, counted, and the request is tried again, ever slower. One
    request is never reconciled twice at the same time; `workers` different ones are.

    Args:
        name: label of its metrics and key of its log lines; one controller a process has it, unless `unique_name` is
            turned off.
        watches: what makes requests; `watch` adds more. At least one.
        workers: how many requests are reconciled at the same time.
        reconcile_timeout_s: after how long a reconcile is cut off; None for never.
        sync_timeout_s: how long each feed may take to start and to sync.
        recovers: whether a defect of the reconciler (Go: a panic) is survived. If not, `run` raises it.
        needs_leader: whether it may only run while this process leads.
        warms_up: whether its feeds fill the queue while it waits to lead. Then the manager calls `warm_up` first.
        rng: makes the reconcileIDs; hand in a seeded one to have the same again.
    """

    def __init__(  # noqa: PLR0917 - the parts of a controller in their usual order
        self,
        name: str,
        reconciler: Reconciler,
        watches: Sequence[Watch | Feed],
        cache: Cache,
        clock: Clock,
        metrics: Metrics,
        *,
        workers: int = 1,
        rate_limiter: RateLimiter[Request] | None = None,
        reconcile_timeout_s: float | None = RECONCILE_TIMEOUT_S,
        sync_timeout_s: float = SYNC_TIMEOUT_S,
        recovers: bool = True,
        needs_leader: bool = True,
        warms_up: bool = False,
        unique_name: bool = True,
        rng: Random | None = None,
    ) -> None:
        _check(name, watches, workers, metrics.controllers if unique_name else set())
        metrics.controllers.add(name)
        self.name = name
        self.needs_leader = needs_leader
        self.warms_up = warms_up
        self._cache = cache
        self._workers = workers
        self._sync_timeout_s = sync_timeout_s
        self._queue: WorkQueue[Request] = WorkQueue(clock, name=name, backoff=rate_limiter, metrics=metrics)
        self._worker = Worker(
            name,
            reconciler,
            self._queue,
            clock,
            ControllerMetrics(metrics, name, workers),
            timeout_s=reconcile_timeout_s,
            recovers=recovers,
            rng=rng or Random(),  # noqa: S311 - names log lines, guards nothing
            hire=self._hire,
        )
        self._feeds = [self._feed(watch) for watch in watches]
        self._opening: asyncio.Task[None] | None = None
        self._crew: set[asyncio.Task[None]] = set()
        self._failed = asyncio.Event()
        self._guards: set[asyncio.Task[None]] = set()
        self._feed_error: BaseException | None = None
        self._is_started = False

    @property
    def queue(self) -> WorkQueue[Request]:
        """The requests that wait."""
        return self._queue

    def watch(self, watch: Watch | Feed) -> None:
        """Have one more feed. It starts with the others, or at once if they have started (CT11, CT13)."""
        feed = self._feed(watch)
        self._feeds.append(feed)
        if self._opening is not None:
            self._start(feed)

    async def warm_up(self, stop: asyncio.Event) -> None:
        """Start the feeds, which `run` will not do again, and last until asked to stop; without `run` they stop, too.

        Raises:
            FeedSyncError: a feed did not sync in time.
            Exception: what a feed failed with; once `run` was called, that raises it.
        """
        stopping = asyncio.create_task(stop.wait(), name=f"{self.name} stop")
        try:
            if await self._open(stopping):
                await self._until_failed(stopping)
                if not self._is_started:
                    self._raise_feed_error()
        finally:
            await _end(stopping)
            if not self._is_started:
                await self._close()

    async def run(self, stop: asyncio.Event) -> None:
        """Reconcile until asked to stop; returns when every worker has finished what it was at (CT15).

        Raises:
            RuntimeError: it was started before.
            FeedSyncError: a feed did not sync in time.
            ReconcilePanicError: the reconciler has a defect, and the controller does not recover.
            Exception: what a feed failed with, once the workers have finished.
        """
        if self._is_started:
            raise RuntimeError(f"controller {self.name!r} was started already; add it to one manager, once")
        self._is_started = True
        stopping = asyncio.create_task(stop.wait(), name=f"{self.name} stop")
        try:
            if await self._open(stopping):
                await self._employ(stopping)
        finally:
            await _end(stopping)
            await self._close()
        log.info("controller has stopped", controller=self.name)

    def _feed(self, watch: Watch | Feed) -> Feed:
        return WatchFeed(watch, self._cache) if isinstance(watch, Watch) else watch

    def _start(self, feed: Feed) -> None:
        log.info("feed starts", controller=self.name, feed=feed.name)
        feed.start(self._queue)
        if isinstance(feed, Failing):
            guard = asyncio.create_task(feed.wait_failed(), name=f"{self.name} {feed.name} failure")
            self._guards.add(guard)
            guard.add_done_callback(lambda task: self._feed_ended(feed, task))

    def _feed_ended(self, feed: Feed, guard: asyncio.Task[None]) -> None:
        self._guards.discard(guard)
        if guard.cancelled() or (error := guard.exception()) is None:
            return
        log.error("a feed has failed", controller=self.name, feed=feed.name, exc_info=error)
        self._feed_error = self._feed_error or error
        self._failed.set()

    def _raise_feed_error(self) -> None:
        if self._feed_error is not None:
            raise self._feed_error

    async def _until_failed(self, *tasks: asyncio.Task[Any]) -> None:
        """Wait until one of the tasks is done, or a feed or worker has failed."""
        failing = asyncio.create_task(self._failed.wait(), name=f"{self.name} failure")
        try:
            await asyncio.wait({failing, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(failing)

    async def _open(self, stopping: asyncio.Task[bool]) -> bool:
        """Have every feed started and synced, once; False when asked to stop meanwhile, which is no error (CT10)."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._sync(), name=f"{self.name} feeds")
        await self._until_failed(self._opening, stopping)
        self._raise_feed_error()
        if stopping.done() or self._opening.cancelled():
            await _end(self._opening)
            return False
        self._opening.result()
        return True

    async def _sync(self) -> None:
        """Start all feeds together and wait for each; the first that fails is the failure of all."""
        for feed in self._feeds:
            self._start(feed)
        tasks = [asyncio.create_task(self._synced(feed), name=f"{self.name} {feed.name}") for feed in self._feeds]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            await _end(*tasks)
        for task in done:
            task.result()

    async def _close(self) -> None:
        self._queue.shut_down(drain=False)
        if self._opening is not None:
            await _end(self._opening)
        await _end(*self._guards)
        for feed in self._feeds:
            await feed.stop()

    async def _synced(self, feed: Feed) -> None:
        limit = asyncio.timeout(self._sync_timeout_s)
        try:
            async with limit:
                await feed.wait_synced()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise FeedSyncError(
                f"controller {self.name!r}: {feed.name}: no complete list within {self._sync_timeout_s:g} s; is the"
                " kind installed, and may we list and watch it?"
            ) from error

    async def _employ(self, stopping: asyncio.Task[bool]) -> None:
        """Have workers reconcile until asked to stop, or until one of them fails."""
        log.info("controller starts", controller=self.name, workers=self._workers)
        for _ in range(self._workers):
            self._hire()
        try:
            await self._until_failed(stopping)
            # What still waits is left: the next leader finds it in its first list.
            self._queue.shut_down(drain=False)
            await asyncio.wait(self._crew)
        finally:
            self._worker.cut_off()
            outcomes = await _end(*self._crew)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        self._raise_feed_error()

    def _hire(self) -> None:
        if not self._queue.is_shut_down:
            # One that replaces another is hired in the midst of a reconcile.
            worker = asyncio.create_task(self._worker.work(), name=f"{self.name} worker", context=unbound())
            self._crew.add(worker)
            worker.add_done_callback(self._leave)

    def _leave(self, worker: asyncio.Task[None]) -> None:
        """A worker has ended: replaced, at the stop, or because it failed; only then it is still asked why."""
        if not worker.cancelled() and worker.exception() is not None:
            self._failed.set()
        elif not self._queue.is_shut_down:
            self._crew.discard(worker)


async def _end(*tasks: asyncio.Task[Any]) -> list[Any]:
    """Cancel tasks, wait for their end, and return what each returned or raised."""
    for task in tasks:
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


def _check(name: str, watches: Sequence[Watch | Feed], workers: int, taken: set[str]) -> None:
    if not watches:
        raise ValueError(f"controller {name!r}: has nothing to watch; give it at least one Watch")
    if workers < 1:
        raise ValueError(f"controller {name!r}: workers must be at least 1, is {workers}")
    if name in taken:
        raise ValueError(
            f"controller {name!r}: the name is taken, and its metrics would be mixed up with the other's; choose"
            " another, or turn unique_name off"
        )
