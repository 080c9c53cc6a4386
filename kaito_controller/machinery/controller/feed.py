"""What fills the queue of a controller: kinds that it watches, or anything else that can name requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, runtime_checkable

from kaito_controller.kube.metadata import Object, resource_version
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.cache.event import Event
from kaito_controller.machinery.cache.registration import Registration
from kaito_controller.machinery.cancellation import failure_of
from kaito_controller.machinery.controller.source import Watch
from kaito_controller.machinery.queue.workqueue import WorkQueue
from kaito_controller.machinery.reconcile.request import Request

LOW_PRIORITY: Final = -100
"""Of what is no news: the first list, and updates that changed nothing. The number is controller-runtime's."""


class Feed(Protocol):
    """Something that asks a controller to reconcile."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def start(self, queue: WorkQueue[Request]) -> None:
        """Begin to add requests. It returns at once; an exception keeps the controller from starting."""
        ...

    async def wait_synced(self) -> None:
        """Wait until a request was added for everything that existed at the start."""
        ...

    async def stop(self) -> None:
        """Add nothing more. Doing it twice is fine, and so is doing it before `start`."""
        ...


@runtime_checkable
class Failing(Protocol):
    """A feed that may fail after its start. Its controller then fails, too: it would miss what that feed is to tell."""

    async def wait_failed(self) -> None:
        """Wait until it fails, and raise why; return once it has no more to add."""
        ...


class WatchFeed:
    """A watched kind: each event that passes the predicates adds the requests that it maps to."""

    def __init__(self, watch: Watch, cache: Cache) -> None:
        self._watch = watch
        self._informer = cache.informer(
            watch.resource,
            namespace=watch.namespace,
            label_selector=watch.label_selector,
            field_selector=watch.field_selector,
            metadata_only=watch.metadata_only,
        )
        self._registration: Registration | None = None
        self._queue: WorkQueue[Request] | None = None

    @property
    def name(self) -> str:
        """The kind, and why it has not synced if something stands in the way."""
        error = self._informer.last_error
        return self._watch.resource.plural + (f" ({error})" if error is not None else "")

    def start(self, queue: WorkQueue[Request]) -> None:
        """Hear of every object that is there, and of every change from now on."""
        self._queue = queue
        self._registration = self._informer.add_handler(self._enqueue)

    async def wait_synced(self) -> None:
        """Wait until the handler has heard of the whole first list (CT11)."""
        if self._registration is not None:
            await self._registration.wait_synced()

    async def stop(self) -> None:
        """Hear nothing more."""
        if self._registration is not None:
            self._registration.remove()

    def _enqueue(self, event: Event) -> None:
        if self._queue is None:
            return
        priority = priority_of(event)
        for request in self._watch.requests(event):
            self._queue.add(request, priority=priority)


class TaskFeed:
    """Whatever adds requests by itself until it is stopped or has no more: a channel's source, a timer.

    When `run` raises, the controller fails, and the operator with it. What concerns one object is for `run` to survive.

    Args:
        name: what messages call it.
        run: gets what to call with each request.
    """

    def __init__(self, name: str, run: Callable[[Callable[[Request], None]], Awaitable[None]]) -> None:
        self._name = name
        self._run = run
        self._task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """As given."""
        return self._name

    def start(self, queue: WorkQueue[Request]) -> None:
        """Run it in a task of its own."""
        self._task = asyncio.create_task(self._work(queue), name=f"feed {self._name}")

    async def wait_failed(self) -> None:
        """Wait until `run` raises, or returns."""
        if self._task is None:
            return
        await asyncio.wait({self._task})
        error = failure_of(self._task)
        if error is not None:
            raise error

    async def wait_synced(self) -> None:
        """It makes requests of what happens, not of what exists: there is nothing to wait for."""

    async def stop(self) -> None:
        """Cancel the task and wait for its end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self, queue: WorkQueue[Request]) -> None:
        await self._run(queue.add)


def priority_of(event: Event) -> int:
    """Below everything else for what is no news (PQ6), and 0 for the rest."""
    if event.initial:
        return LOW_PRIORITY
    return LOW_PRIORITY if event.old is not None and _is_same(event.old, event.object) else 0


def _is_same(old: Object, new: Object) -> bool:
    return resource_version(old) == resource_version(new)
