"""What a controller did and waits to see, for children whose names the server makes (EX1 to EX3).

With names of our own making `Cache.require_fresh` says more, and nothing has to be counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import define, field

from kaito_controller.kube.metadata import Object, is_deleting, uid
from kaito_controller.machinery.cache.event import Change, Event
from kaito_controller.machinery.clock import Clock

EXPIRY_S: Final = 300.0
"""How long what was expected is waited for: something was missed, and looking again is safer than waiting on."""


@define
class _Expected:
    creations: int
    deletions: set[str]
    at: float


@define(kw_only=True)
class Expectations:
    """Per owner, how many creations and which deletions its cache has yet to show.

    Deletions are told by UID, so that the update which sets deletionTimestamp and the deletion itself count once.
    """

    clock: Clock
    _owners: dict[str, _Expected] = field(init=False, factory=dict)

    def expect(self, owner: str, *, creations: int = 0, deletions: Iterable[str] = ()) -> None:
        """Before the calls: so many children of the owner are about to be created, those with these UIDs deleted.

        What was expected of the owner before is forgotten: one does not act while something is expected.
        """
        self._owners[owner] = _Expected(creations, set(deletions), self.clock.monotonic())

    def lower(self, owner: str, *, creations: int = 0, deletions: Iterable[str] = ()) -> None:
        """So much of it will never be seen: the calls failed, or were not made."""
        expected = self._owners.get(owner)
        if expected is not None:
            expected.creations -= creations
            expected.deletions.difference_update(deletions)

    def observe(self, owner: str, event: Event) -> None:
        """The cache showed a child of the owner: an appearance counts as a creation, a goodbye as a deletion."""
        child = event.object
        if event.change is Change.ADDED:
            self.lower(owner, creations=1)
        if event.change is Change.DELETED or is_deleting(child):
            self.lower(owner, deletions=(uid(child),))
        if _is_replaced(event):
            # Deleted and made again unseen is one update: both are observed with it.
            self.lower(owner, creations=1, deletions=(uid(event.old or {}),))

    def is_satisfied(self, owner: str) -> bool:
        """Whether the owner may be acted on: all was seen, nothing was ever expected, or it is too long ago."""
        expected = self._owners.get(owner)
        if expected is None:
            return True
        if expected.creations <= 0 and not expected.deletions:
            return True
        return self.clock.monotonic() - expected.at > EXPIRY_S

    def forget(self, owner: str) -> None:
        """The owner is gone (EX3)."""
        self._owners.pop(owner, None)

    def __len__(self) -> int:
        return len(self._owners)


def _is_replaced(event: Event) -> bool:
    old: Object | None = event.old
    return old is not None and uid(old) != uid(event.object)
