"""A controller: watches become requests, workers have them reconciled, failures come back later."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from uuid import uuid4

import structlog

from kaito_controller.machinery.backoff import ItemBackoff
from kaito_controller.machinery.cache import Cache, StaleCacheError
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiConnectionError, ApiError, is_conflict
from kaito_controller.machinery.event import Event
from kaito_controller.machinery.informer import Registration
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import ControllerMetrics, Metrics
from kaito_controller.machinery.request import Reconciler, Request, Result, TerminalError
from kaito_controller.machinery.source import Watch
from kaito_controller.machinery.workqueue import QueueShutDown, WorkQueue

__all__ = ["Controller", "Reconciler", "Request", "Result", "TerminalError"]

RECONCILE_TIMEOUT_S = 120.0
DEFECTS = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RecursionError, TypeError)
"""Exceptions that a correct reconciler does not raise: Go would have panicked."""

log = logger(__name__)


class Controller:
    """Runs one reconciler over the requests that its watches make.

    No exception of the reconciler ends it: it is logged, counted, and the request is tried again, ever slower. One
    request is never reconciled twice at the same time; `workers` different ones are.
    """

    needs_leader = True

    def __init__(  # noqa: PLR0917 - the parts of a controller in their usual order
        self,
        name: str,
        reconciler: Reconciler,
        watches: Sequence[Watch],
        cache: Cache,
        clock: Clock,
        metrics: Metrics,
        *,
        workers: int = 1,
        rate_limiter: ItemBackoff[Request] | None = None,
        reconcile_timeout_s: float = RECONCILE_TIMEOUT_S,
    ) -> None:
        if not watches:
            raise ValueError(f"controller {name!r}: has nothing to watch; give it at least one Watch")
        self.name = name
        self._reconciler = reconciler
        self._clock = clock
        self._workers = workers
        self._timeout_s = reconcile_timeout_s
        self._metrics = ControllerMetrics(metrics, name, workers)
        self._queue: WorkQueue[Request] = WorkQueue(clock, name=name, backoff=rate_limiter, metrics=metrics)
        self._registrations: list[Registration] = []
        self._informers = []
        for watch in watches:
            informer = cache.informer(
                watch.resource,
                namespace=watch.namespace,
                label_selector=watch.label_selector,
                field_selector=watch.field_selector,
            )
            self._informers.append(informer)
            self._registrations.append(informer.add_handler(partial(self._enqueue, watch)))

    @property
    def queue(self) -> WorkQueue[Request]:
        """The requests that wait. Sources that are no watch may add to it."""
        return self._queue

    async def run(self, stop: asyncio.Event) -> None:
        """Reconcile until asked to stop; returns when every worker has finished what it was at (CT15)."""
        for informer in self._informers:
            await informer.wait_synced()
        log.info("controller starts", controller=self.name, workers=self._workers)
        try:
            async with asyncio.TaskGroup() as group:
                workers = [
                    group.create_task(self._work(stop), name=f"{self.name} worker {number}")
                    for number in range(self._workers)
                ]
                waiting = group.create_task(stop.wait(), name=f"{self.name} stop")
                await waiting
                self._queue.shut_down()
                await asyncio.wait(workers)
        finally:
            self._queue.shut_down()
            for registration in self._registrations:
                registration.remove()
        log.info("controller has stopped", controller=self.name)

    def _enqueue(self, watch: Watch, event: Event) -> None:
        for request in watch.requests(event):
            self._queue.add(request)

    async def _work(self, stop: asyncio.Event) -> None:
        # What still waits at the stop is left: the next leader finds it in its first list.
        while not stop.is_set():
            try:
                request = await self._queue.get()
            except QueueShutDown:
                return
            if stop.is_set():
                self._queue.done(request)
                return
            try:
                await self._handle(request)
            finally:
                self._queue.done(request)

    async def _handle(self, request: Request) -> None:
        started = self._clock.monotonic()
        self._metrics.active.inc()
        with structlog.contextvars.bound_contextvars(
            controller=self.name,
            namespace=request.namespace,
            name=request.name,
            reconcileID=uuid4().hex[:12],
        ):
            try:
                outcome = await self._reconcile(request)
            finally:
                self._metrics.active.dec()
                self._metrics.seconds.observe(self._clock.monotonic() - started)
        self._metrics.results[outcome].inc()

    async def _reconcile(self, request: Request) -> str:
        """Reconcile once, arrange what comes next, and name the outcome for the metrics."""
        limit = asyncio.timeout(self._timeout_s)
        try:
            async with limit:
                result = await self._reconciler.reconcile(request)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return self._failed(request, error)
        except Exception as error:  # noqa: BLE001 - no exception of a reconciler ends its controller
            if limit.expired():
                self._metrics.timeouts.inc()
            return self._failed(request, error)
        return self._succeeded(request, result)

    def _succeeded(self, request: Request, result: Result) -> str:
        self._queue.forget(request)
        if result.requeue_after_s is None:
            log.debug("reconciled", why=result.why)
            return "success"
        log.debug("reconciled; looking again later", after_s=result.requeue_after_s, why=result.why)
        self._queue.add_after(request, result.requeue_after_s)
        return "requeue_after"

    def _failed(self, request: Request, error: BaseException) -> str:
        self._metrics.errors.inc()
        if isinstance(error, DEFECTS):
            self._metrics.panics.inc()
        if _is_terminal(error):
            self._metrics.terminal_errors.inc()
            self._queue.forget(request)
            log.error("reconcile failed for good; waiting for a change", error=str(error))
            return "error"
        self._queue.add_rate_limited(request)
        self._log_failure(request, error)
        return "error"

    def _log_failure(self, request: Request, error: BaseException) -> None:
        text, tries = str(error) or type(error).__name__, self._queue.failures(request)
        if isinstance(error, StaleCacheError) or is_conflict(error):
            # Expected now and then: the world moved on between our read and our write.
            log.debug("reconcile is tried again", error=text, failures=tries)
        elif isinstance(error, ApiError | ApiConnectionError | TimeoutError):
            log.warning("reconcile failed; trying again", error=text, failures=tries)
        else:
            log.error("reconcile failed; trying again", error=text, failures=tries, exc_info=error)


def _is_terminal(error: BaseException | None) -> bool:
    """Whether a TerminalError is anywhere in the chain of explicit causes (CT5)."""
    while error is not None:
        if isinstance(error, TerminalError):
            return True
        error = error.__cause__
    return False
