"""What a watch tells once everything is known: each event goes to the sink, and the version moves with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from attrs import define, field

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.reflector.list_pager import ANY_VERSION, NEWEST

SILENCE_S = 90.0
"""Servers send a bookmark about every minute; one that stays silent for longer is taken for dead (RF24)."""

log = logger(__name__)


class Sink(Protocol):
    """Where a reflector delivers. Every call happens within one step of the event loop.

    An object with `codec.CUT` nests too deep to be read: all that is known of it for sure is its metadata.
    """

    def keep(self, obj: Object) -> Object | None:
        """What is kept of an object of the first events or a list; None for nothing. Asked as soon as it is decoded."""
        ...

    def replace(self, objects: Sequence[Object], version: str) -> None:
        """These are all objects at that version, each as `keep` left it."""
        ...

    def changed(self, obj: Object) -> None:
        """The object was added or modified."""
        ...

    def deleted(self, obj: Object) -> None:
        """The object is gone; this was its last state."""
        ...

    def bookmark(self, version: str) -> None:
        """Nothing else happened up to that version."""
        ...


@define(eq=False)
class LiveEvents:
    """Takes the events of one watch after the other.

    Attributes:
        kind: of what, for warnings.
        clock: where time comes from.
        sink: where events go.
        version: the last one seen, from which the next watch goes on.
        sends_bookmarks: whether the server was seen to; only then its silence means anything.
    """

    kind: str
    clock: Clock
    sink: Sink
    version: str = field(init=False, default="")
    sends_bookmarks: bool = field(init=False, default=False)
    _is_ordered: bool = field(init=False, default=True)

    def begin(self) -> None:
        """The next events come from a watch that was opened at `version`.

        Without one the server begins with the objects that are there, in any order of their versions: none of those
        is a version to go on from. The first event of another type tells that they are through (RF18).
        """
        self._is_ordered = self.version not in {NEWEST, ANY_VERSION}

    def receive(self, kind: str, obj: Object, version: str) -> bool:
        """Take an event. It never has enough."""
        match kind:
            case "ADDED":
                self.sink.changed(obj)
            case "MODIFIED":
                self.sink.changed(obj)
                self._is_ordered = True
            case "DELETED":
                self.sink.deleted(obj)
                self._is_ordered = True
            case "BOOKMARK":
                self._is_ordered = self.sends_bookmarks = True
                if version:
                    self.sink.bookmark(version)
            case _:
                log.warning("an event of unknown type is passed over", kind=self.kind, type=kind)
        if version and self._is_ordered:
            self.version = version
        return False

    def patience(self) -> float:
        """The instant until which more must come."""
        return self.clock.monotonic() + SILENCE_S if self.sends_bookmarks else math.inf
