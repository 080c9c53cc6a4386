"""Handlers made of handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import overload

from attrs import evolve

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.cache.event import AsyncHandler, Change, Event, Handler
from kaito_controller.machinery.cache.registration import is_async

Passes = Callable[[Object], bool]
"""Whether an object is one that a handler wants to hear of."""


@overload
def filtered(passes: Passes, handler: AsyncHandler) -> AsyncHandler: ...
@overload
def filtered(passes: Passes, handler: Handler) -> Handler: ...
def filtered(passes: Passes, handler: Handler | AsyncHandler) -> Handler | AsyncHandler:
    """Show a handler only what passes: an object that begins to is added, one that ceases to is deleted (SI12).

    A tombstone is asked for by the last state known; one without any is passed over.
    """
    if is_async(handler):
        inner = handler

        async def tell_in_task(event: Event) -> None:
            seen = _seen(passes, event)
            if seen is not None:
                await inner(seen)

        return tell_in_task

    def tell(event: Event) -> None:
        seen = _seen(passes, event)
        if seen is not None:
            handler(seen)

    return tell


def _seen(passes: Passes, event: Event) -> Event | None:
    """What the handler sees of an event: it, another one, or nothing."""
    is_in = bool(event.object) and passes(event.object)
    if event.old is None:
        return event if is_in else None
    was_in = passes(event.old)
    if is_in:
        return event if was_in else evolve(event, change=Change.ADDED, old=None)
    return evolve(event, change=Change.DELETED, object=event.old, old=None) if was_in else None
