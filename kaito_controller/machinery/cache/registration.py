"""One handler on one informer: told inline, or through a buffer and a task of its own."""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Final, TypeGuard

from kaito_controller.machinery.cache.event import AsyncHandler, Event, Handler
from kaito_controller.machinery.cancellation import is_asked_to_end
from kaito_controller.machinery.clock import Clock

HANDLER_GRACE_S: Final = 5.0
"""How long a coroutine handler may take to finish what it is at when its informer stops; then it is cancelled."""

BATCH: Final = 200
"""Events after which the event loop gets a turn."""

Failed = Callable[[Event, BaseException], None]
"""Told of an event and what the handler raised on it."""


class HandlerRemovedError(Exception):
    """The handler was removed, or its informer stopped, before it had dealt with the first list; it never will."""


class Registration(ABC):
    """What `Informer.add_handler` gives: the handler is told until it is removed or the informer stops.

    Attributes:
        resync_s: seconds between two resyncs of this handler; 0 for never.
    """

    def __init__(self, resync_s: float, drop: Callable[[Registration], None], failed: Failed) -> None:
        self.resync_s = resync_s
        self._drop = drop
        self._failed = failed
        self._settled = asyncio.Event()
        self._is_synced = False
        self._is_removed = False

    @property
    def has_synced(self) -> bool:
        """Whether the handler has dealt with every object of the first list (SI3); never, if it was removed before."""
        return self._is_synced

    @property
    def backlog(self) -> int:
        """Events that wait for the handler."""
        return 0

    async def wait_synced(self) -> None:
        """Wait until the handler has dealt with every object of the first list.

        In client-go whoever waits for a removed handler does so until he is stopped himself.

        Raises:
            HandlerRemovedError: it was removed, or the informer stopped, before that.
        """
        await self._settled.wait()
        if not self._is_synced:
            raise HandlerRemovedError("the handler was removed, or its informer stopped, before it had synced")

    def remove(self) -> None:
        """Tell the handler nothing more, and do not wait for what it is at. Doing it twice is fine."""
        self._end()
        self._drop(self)

    async def shutdown(self) -> None:
        """Remove the handler and wait until it has returned from its last event.

        Raises:
            RuntimeError: the handler itself asked for it, and would wait for its own end.
        """
        self.remove()

    @abstractmethod
    def tell(self, event: Event) -> None:
        """For the informer: hand one event over. It never raises."""

    @abstractmethod
    def mark_synced(self) -> None:
        """For the informer: every object of the first list has been handed over."""

    @abstractmethod
    def start(self) -> None:
        """For the informer: it runs."""

    async def stop(self) -> None:
        """For the informer: it has stopped; what was not handed over yet is dropped (SI11)."""
        self._end()

    def _end(self) -> None:
        self._is_removed = True
        self._settled.set()

    def _sync(self) -> None:
        self._is_synced = True
        self._settled.set()


class InlineRegistration(Registration):
    """A plain function, called in the step of the event loop in which the store changes."""

    def __init__(self, handler: Handler, resync_s: float, drop: Callable[[Registration], None], failed: Failed) -> None:
        super().__init__(resync_s, drop, failed)
        self._handler = handler

    def tell(self, event: Event) -> None:
        """Call the handler."""
        if self._is_removed:
            return
        try:
            self._handler(event)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it harms only its own event (SI7)
            self._failed(event, error)

    def mark_synced(self) -> None:
        """Everything handed over has been dealt with already."""
        self._sync()

    def start(self) -> None:
        """There is nothing to begin: it is the informer that calls."""


class BufferedRegistration(Registration):
    """A coroutine function with a buffer and a task of its own: one event at a time, in order, however slow (SI6)."""

    def __init__(
        self,
        handler: AsyncHandler,
        resync_s: float,
        drop: Callable[[Registration], None],
        failed: Failed,
        *,
        clock: Clock,
        name: str,
    ) -> None:
        super().__init__(resync_s, drop, failed)
        self._handler = handler
        self._clock = clock
        self._name = name
        # None stands behind the last event of the first list.
        self._events: deque[Event | None] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def backlog(self) -> int:
        """Events that wait for the handler, which may be at another one."""
        return sum(event is not None for event in self._events)

    def remove(self) -> None:
        """Tell the handler nothing more, not even what waits, and do not wait for what it is at."""
        super().remove()
        self._events.clear()
        self._wake.set()

    async def shutdown(self) -> None:
        """Remove the handler and wait until it has returned from its last event.

        Raises:
            RuntimeError: the handler itself asked for it, and would wait for its own end.
        """
        if self._task is not None and self._task is asyncio.current_task():
            raise RuntimeError(
                f"{self._name}: its own callback calls shutdown() and would wait for itself for ever;"
                " call remove() there, or shutdown() from another task"
            )
        self.remove()
        if self._task is not None:
            await asyncio.wait({self._task})

    def tell(self, event: Event) -> None:
        """Put the event into the buffer."""
        if not self._is_removed:
            self._events.append(event)
            self._wake.set()

    def mark_synced(self) -> None:
        """Put the mark behind what the first list brought."""
        if not self._is_removed:
            self._events.append(None)
            self._wake.set()

    def start(self) -> None:
        """Begin to hand over what is in the buffer."""
        if self._task is None and not self._is_removed:
            self._task = asyncio.create_task(self._work(), name=self._name)

    async def stop(self) -> None:
        """Drop what waits, and let the handler finish the event it is at, for a few seconds."""
        self._end()
        self._events.clear()
        self._wake.set()
        if self._task is None or self._task is asyncio.current_task():
            return
        try:
            await asyncio.wait({self._task}, timeout=HANDLER_GRACE_S)
        finally:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        since = 0
        while not self._is_removed:
            while self._events:
                event = self._events.popleft()
                if event is None:
                    self._sync()
                else:
                    await self._handle(event)
                since += 1
                if since >= BATCH:
                    # A handler that never waits would hold the loop until its buffer is empty.
                    await self._clock.sleep(0)
                    since = 0
            self._wake.clear()
            if not self._is_removed:
                await self._wake.wait()

    async def _handle(self, event: Event) -> None:
        try:
            await self._handler(event)
        except asyncio.CancelledError as error:
            if is_asked_to_end():
                raise
            # The handler awaited something that was cancelled: a failure of this event, not our own end.
            self._failed(event, error)
        except Exception as error:  # noqa: BLE001 - it harms only its own event (SI7)
            self._failed(event, error)


def is_async(handler: Handler | AsyncHandler) -> TypeGuard[AsyncHandler]:
    """Whether a handler is a coroutine function, or an object that is called like one."""
    call = getattr(handler, "__call__", None)  # noqa: B004 - the method itself is looked at
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)
