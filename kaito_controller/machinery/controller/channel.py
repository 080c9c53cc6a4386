"""A source of requests that is no watch: whatever happens outside the cluster, told through a bounded channel."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import define, field, frozen

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.cache.event import Change, Event
from kaito_controller.machinery.controller.predicates import Predicate
from kaito_controller.machinery.controller.source import ToRequests, requests
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.reconcile.request import Request

SIZE: Final = 1024
"""Objects that wait in a channel before whoever sends the next one has to (PR7)."""


log = logger(__name__)


class ChannelClosedError(Exception):
    """Nothing more may be sent."""


@define(eq=False)
class Channel:
    """Objects on their way from one part of the process to one `ChannelSource`."""

    size: int = SIZE
    _objects: deque[Object] = field(init=False, factory=deque)
    _is_closed: bool = field(init=False, default=False)
    _changed: asyncio.Condition = field(init=False, factory=asyncio.Condition)

    def __len__(self) -> int:
        return len(self._objects)

    async def send(self, obj: Object) -> None:
        """Say that something happened to an object; waits while the channel is full.

        Raises:
            ChannelClosedError: the channel is closed, or was while this waited.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._is_closed or len(self._objects) < self.size)
            if self._is_closed:
                raise ChannelClosedError("channel: closed, so nothing more can be sent; send before close()")
            self._objects.append(obj)
            self._changed.notify_all()

    async def close(self) -> None:
        """Let nothing more in; what was sent is still delivered."""
        async with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    async def receive(self) -> Object | None:
        """The next object, waiting for it; None once the channel is closed and empty."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._is_closed or bool(self._objects))
            if not self._objects:
                return None
            obj = self._objects.popleft()
            self._changed.notify_all()
            return obj


@frozen(kw_only=True)
class ChannelSource:
    """What becomes of a channel's objects: generic events, filtered and mapped as those of a watch."""

    channel: Channel
    to_requests: ToRequests
    predicates: tuple[Predicate, ...] = ()

    async def run(self, add: Callable[[Request], None]) -> None:
        """Hand requests over, such as to `Controller.queue.add`, until the channel is closed and empty.

        An object that cannot be mapped harms nobody but itself, as in a watch.
        """
        while (obj := await self.channel.receive()) is not None:
            event = Event(change=Change.GENERIC, object=obj)
            try:
                found = requests(event, self.predicates, self.to_requests)
            except Exception:
                log.exception("an object of a channel makes no request")
                continue
            for request in found:
                add(request)
