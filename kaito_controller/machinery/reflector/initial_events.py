"""What a watch sends first when it is asked for everything that is there (WatchList streaming)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

from attrs import define, field

from kaito_controller.kube.metadata import Object, key
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.log import logger

END = "k8s.io/initial-events-end"
"""The annotation of the bookmark that ends the initial events."""
WARN_S = 10.0
"""How often the missing end is warned of (WL6)."""
PATIENCE_S = 30.0
"""How long the end may take after the last object of an unbroken run of ADDED. A server that knows the feature sends it
right after them; one that ignores the request goes silent, or on to what happens now, and would be waited for without
end."""

log = logger(__name__)


@define(eq=False)
class InitialEvents:
    """Takes events until their end is marked. It is a context manager: inside, it warns while the end is missing.

    What is not kept of an object goes at once: all of them whole, at one moment, would be the most memory ever used.

    Attributes:
        kind: of what, for warnings.
        clock: where time comes from.
        keep: what is kept of an object; None for nothing.
        version: what the bookmark at the end says, and only that one: the objects come in any order (WL7).
    """

    kind: str
    clock: Clock
    keep: Callable[[Object], Object | None]
    version: str = field(init=False, default="")
    _objects: dict[str, Object] = field(init=False, factory=dict)
    _deadline: float | None = field(init=False, default=None)
    _started: float = field(init=False)
    _warning: asyncio.TimerHandle | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._started = self.clock.monotonic()

    def __enter__(self) -> Self:
        self._warning = self.clock.call_later(WARN_S, self._warn)
        return self

    def __exit__(self, *_: object) -> None:
        if self._warning is not None:
            self._warning.cancel()

    @property
    def objects(self) -> list[Object]:
        """What is there now."""
        return list(self._objects.values())

    def receive(self, kind: str, obj: Object, version: str) -> bool:
        """Take an event; True when it was the end of them."""
        if kind == "ADDED":
            self._take(obj)
            return False
        if self._deadline is None:
            self._deadline = self.clock.monotonic() + PATIENCE_S
        match kind:
            case "MODIFIED":
                self._take(obj)
            case "DELETED":
                self._objects.pop(key(obj), None)
            case "BOOKMARK" if version and _is_end(obj):
                self.version = version
                return True
            case _:
                pass
        return False

    def patience(self) -> float:
        """The instant until which more must come."""
        return self.clock.monotonic() + PATIENCE_S if self._deadline is None else self._deadline

    def _take(self, obj: Object) -> None:
        name, kept = key(obj), self.keep(obj)
        if kept is None:
            self._objects.pop(name, None)
        else:
            self._objects[name] = kept

    def _warn(self) -> None:
        log.warning(
            "the bookmark that ends the initial events is still missing",
            kind=self.kind,
            objects=len(self._objects),
            seconds=round(self.clock.monotonic() - self._started, 3),
        )
        self._warning = self.clock.call_later(WARN_S, self._warn)


def _is_end(obj: Object) -> bool:
    annotations = obj["metadata"].get("annotations")
    return isinstance(annotations, dict) and annotations.get(END) == "true"
