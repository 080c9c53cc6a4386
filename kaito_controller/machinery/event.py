"""What an informer tells its handlers."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from attrs import frozen

from kaito_controller.kube.metadata import Object


class Change(Enum):
    """What happened to an object, as the cache came to see it."""

    ADDED = "ADDED"
    UPDATED = "UPDATED"
    DELETED = "DELETED"


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


Handler = Callable[[Event], None]
"""Called in the event loop, so it must only take note: enqueue, count, set an event."""
