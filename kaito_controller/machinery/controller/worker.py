"""What a worker of a controller does with one request after another, whatever the reconciler does to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Final
from uuid import UUID

import structlog

from kaito_controller.machinery.cache.consistency import StaleCacheError
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiConnectionError, ApiError, is_conflict
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import ControllerMetrics
from kaito_controller.machinery.queue.workqueue import QueueShutDown, WorkQueue
from kaito_controller.machinery.reconcile.failure import ReconcilePanicError, is_panic, is_terminal
from kaito_controller.machinery.reconcile.request import Reconciler, Request, Result

PATIENCE_S: Final = 10.0
"""How long a reconcile that was cut off may take to end before another worker takes the place of its own."""

log = logger(__name__)


class Worker:
    """Takes requests from the queue and has them reconciled. Run `work` as many times at once as workers are wanted.

    Args:
        timeout_s: after how long a reconcile is cut off; None for never.
        recovers: whether a defect of the reconciler is a failure like any other, or the end of the controller.
        rng: makes the reconcileID of each reconcile.
        hire: called when a reconcile that was cut off does not end: one more `work` is wanted, since the one that is
            stuck with it returns as soon as it can. Its request stays held, so nobody else is at it meanwhile.
    """

    def __init__(
        self,
        name: str,
        reconciler: Reconciler,
        queue: WorkQueue[Request],
        clock: Clock,
        metrics: ControllerMetrics,
        *,
        timeout_s: float | None,
        recovers: bool,
        rng: Random,
        hire: Callable[[], None],
    ) -> None:
        self._name = name
        self._reconciler = reconciler
        self._queue = queue
        self._clock = clock
        self._metrics = metrics
        self._timeout_s = timeout_s
        self._recovers = recovers
        self._rng = rng
        self._hire = hire
        self._replaced: set[asyncio.Task[None] | None] = set()
        self._is_cut_off = False

    def cut_off(self) -> None:
        """From now on a cancellation is meant for the worker, and ends it."""
        self._is_cut_off = True

    async def work(self) -> None:
        """Reconcile until the queue is shut down.

        Raises:
            ReconcilePanicError: the reconciler has a defect and is not to be recovered from one.
        """
        while not self._queue.is_shut_down and asyncio.current_task() not in self._replaced:
            try:
                request = await self._queue.get()
                try:
                    await self._handle(request)
                finally:
                    self._queue.done(request)
                # A reconciler that never waits would keep the loop from everything else, and a cancellation that it
                # left behind is delivered here instead of to the next request.
                await self._clock.sleep(0)
            except QueueShutDown:
                return
            except asyncio.CancelledError:
                if not self._survives():
                    raise
        self._replaced.discard(asyncio.current_task())

    def _survives(self) -> bool:
        """Whether a cancellation that was caught is to be got over, because nobody meant it for the worker."""
        if self._is_cut_off:
            return False
        task = asyncio.current_task()
        while task is not None and task.cancelling():
            task.uncancel()
        return True

    async def _handle(self, request: Request) -> None:
        started = self._clock.monotonic()
        self._metrics.active.inc()
        with structlog.contextvars.bound_contextvars(
            controller=self._name,
            namespace=request.namespace,
            name=request.name,
            reconcileID=str(UUID(int=self._rng.getrandbits(128), version=4)),
        ):
            watchdog = self._watch_over(request)
            try:
                outcome = await self._reconcile(request)
            finally:
                if watchdog is not None:
                    watchdog.cancel()
                self._metrics.active.dec()
                self._metrics.seconds.observe(self._clock.monotonic() - started)
        self._metrics.results[outcome].inc()

    def _watch_over(self, request: Request) -> asyncio.TimerHandle | None:
        """Have this worker replaced if the reconcile outlives its time by far."""
        if self._timeout_s is None:
            return None
        task = asyncio.current_task()

        def replace() -> None:
            self._replaced.add(task)
            log.error(
                "a reconcile goes on although it was cut off; another worker takes over",
                controller=self._name,
                namespace=request.namespace,
                name=request.name,
            )
            self._hire()

        return self._clock.call_later(self._timeout_s + PATIENCE_S, replace)

    async def _reconcile(self, request: Request) -> str:
        """Reconcile once, arrange what comes next, and name the outcome for the metrics."""
        limit = asyncio.timeout(self._timeout_s)
        try:
            async with limit:
                result = _checked(await self._reconciler.reconcile(request))
        except asyncio.CancelledError as error:
            if not self._survives():
                raise
            return self._failed(request, error)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - no exception of a reconciler harms more than its request
            return self._failed(request, error)
        finally:
            if limit.expired():
                self._metrics.timeouts.inc()
        return self._succeeded(request, result)

    def _succeeded(self, request: Request, result: Result) -> str:
        queue, after_s = self._queue, result.requeue_after_s
        if result.rate_limited or (after_s is not None and after_s <= 0):
            queue.add_rate_limited(request, priority=result.priority)
            log.debug("reconciled; looking again soon", why=result.why)
            return "requeue"
        queue.forget(request)
        if after_s is None:
            log.debug("reconciled", why=result.why)
            return "success"
        queue.add_after(request, after_s, priority=result.priority)
        log.debug("reconciled; looking again later", after_s=after_s, why=result.why)
        return "requeue_after"

    def _failed(self, request: Request, error: BaseException) -> str:
        text = str(error) or type(error).__name__
        if is_panic(error):
            self._metrics.panics.inc()
            if not self._recovers:
                log.error("the reconciler has a defect; stopping", error=text, exc_info=error)
                raise ReconcilePanicError(f"controller {self._name}, {request.key}: panic: {error!r}") from error
            text = f"panic: {error!r} [recovered]"
        self._metrics.errors.inc()
        if is_terminal(error):
            self._metrics.terminal_errors.inc()
            log.error("reconcile failed for good; waiting for a change", error=text)
            return "error"
        self._queue.add_rate_limited(request)
        self._log_failure(request, error, text)
        return "error"

    def _log_failure(self, request: Request, error: BaseException, text: str) -> None:
        tries = self._queue.failures(request)
        if isinstance(error, StaleCacheError) or is_conflict(error):
            # Expected now and then: the world moved on between our read and our write.
            log.debug("reconcile is tried again", error=text, failures=tries)
        elif isinstance(error, ApiError | ApiConnectionError | TimeoutError):
            log.warning("reconcile failed; trying again", error=text, failures=tries)
        else:
            log.error("reconcile failed; trying again", error=text, failures=tries, exc_info=error)


def _checked(result: object) -> Result:
    if not isinstance(result, Result):
        raise TypeError(
            f"reconcile() must return a Result, returned {result!r}; return Result.done() when there is nothing to do"
        )
    return result
