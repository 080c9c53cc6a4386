"""What an informer tells its handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum

from attrs import frozen

from kaito_controller.kube.metadata import Object
from kaito_controller.kube.metadata import key as key_of


class Change(Enum):
    """What happened to an object, as the cache came to see it; GENERIC is said by sources outside the cluster."""

    ADDED = "ADDED"
    UPDATED = "UPDATED"
    DELETED = "DELETED"
    GENERIC = "GENERIC"


@frozen(kw_only=True)
class Event:
    """One change of one object, after the store shows it.

    Attributes:
        change: what happened.
        object: the object now; of a deleted one, the last state known.
        old: the state before; None unless it was updated.
        initial: it was there before the handler was added, or came with the first list.
        final_state_unknown: the deletion was noticed by a later list, so `object` may not be its last state (FQ2).
    """

    change: Change
    object: Object
    old: Object | None = None
    initial: bool = False
    final_state_unknown: bool = False

    @property
    def states(self) -> tuple[Object, ...]:
        """The states that the event speaks of, the older one first."""
        return (self.object,) if self.old is None else (self.old, self.object)

    @property
    def key(self) -> str:
        """`namespace/name` of the object, or its name alone."""
        return key_of(self.object)

    @property
    def is_resync(self) -> bool:
        """Whether nothing happened: the handler asked to be told of everything now and then."""
        return self.old is self.object


Handler = Callable[[Event], None]
"""Called in the event loop, so it must only take note: enqueue, count, set an event."""

AsyncHandler = Callable[[Event], Awaitable[None]]
"""A coroutine function. It may take its time: its events wait in a buffer of its own, without bound."""
