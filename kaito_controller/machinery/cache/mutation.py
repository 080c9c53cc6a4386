"""Catching whoever changes an object of a cache in place: everybody else reads that very object.

Off unless `KUBE_CACHE_MUTATION_DETECTOR` says true, as in client-go (ST7): it costs a serialised copy of every object.
"""

from __future__ import annotations

import asyncio
import copy
import marshal
import os
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

from attrs import define, field

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.clock import Clock

VARIABLE: Final = "KUBE_CACHE_MUTATION_DETECTOR"
CHECK_S: Final = 1.0
"""Seconds between two comparisons, as in client-go."""
RECENT_S: Final = 120.0
"""How long after it came an object is compared again and again; later only when it is replaced or asked for."""
_MARSHAL_VERSION: Final = 2
"""The last version that writes equal values as equal bytes, whoever else refers to them."""


class CacheMutatedError(Exception):
    """Somebody changed an object of a cache in place; the message says which one, and where."""


@define(eq=False)
class _Copy:
    """An object of the store, and what it was when it came."""

    obj: Object
    then: bytes | Object
    at: float


@define(eq=False)
class MutationDetector:
    """Keeps what every object of one store was when it came, and compares."""

    clock: Clock
    kind: str
    _copies: dict[str, _Copy] = field(init=False, factory=dict)
    _timer: asyncio.TimerHandle | None = field(init=False, default=None)
    _fault: asyncio.Event = field(init=False, factory=asyncio.Event)
    _error: CacheMutatedError | None = field(init=False, default=None)

    census: ClassVar[list[MutationDetector] | None] = None
    """Where a test kit wants every detector filed that is made, to ask it at the end; None for nowhere."""

    def __attrs_post_init__(self) -> None:
        if self.census is not None:
            self.census.append(self)

    def took(self, key: str, obj: Object) -> None:
        """The store holds this object now; the one that it held under the key is compared a last time."""
        self.dropped(key)
        self._copies[key] = _Copy(obj, _copied(obj), self.clock.monotonic())

    def dropped(self, key: str) -> None:
        """The store holds nothing under the key any more; what it held is compared a last time."""
        known = self._copies.pop(key, None)
        if known is not None:
            self._compare(key, known)

    def verify(self) -> None:
        """Compare every object of the store.

        Raises:
            CacheMutatedError: one was changed, now or before.
        """
        for key, known in self._copies.items():
            self._compare(key, known)
        if self._error is not None:
            raise self._error

    async def run(self) -> None:
        """Compare what came lately once a second, until cancelled.

        Raises:
            CacheMutatedError: an object was changed.
        """
        try:
            self._check_recent()
            await self._fault.wait()
        finally:
            if self._timer is not None:
                self._timer.cancel()
        if self._error is not None:
            raise self._error

    def awake(self) -> None:
        """Something came: compare again from the next second on. Nothing is armed while nothing is recent."""
        if self._timer is None:
            self._timer = self.clock.call_later(CHECK_S, self._check_recent)

    def _check_recent(self) -> None:
        self._timer = None
        since = self.clock.monotonic() - RECENT_S
        recent = [(key, known) for key, known in self._copies.items() if known.at >= since]
        for key, known in recent:
            self._compare(key, known)
        if recent and self._error is None:
            self.awake()

    def _compare(self, key: str, known: _Copy) -> None:
        if self._error is not None or _copied(known.obj) == known.then:
            return
        then = marshal.loads(known.then) if isinstance(known.then, bytes) else known.then  # noqa: S302 - our own copy
        where = next(_differences(then, known.obj), None)
        # The order of keys is no content: taken out and put back is no change.
        if where is not None:
            self._error = CacheMutatedError(
                f"{self.kind} {key}: {where} was changed in the cache; what a cache hands out is everybody's:"
                " copy it before you change it"
            )
            self._fault.set()


def detector(clock: Clock, kind: str, environment: Mapping[str, str] = os.environ) -> MutationDetector | None:
    """A detector where the environment asks for one."""
    asked = environment.get(VARIABLE, "").lower() in {"1", "t", "true"}
    return MutationDetector(clock, kind) if asked else None


def _copied(obj: Object) -> bytes | Object:
    try:
        return marshal.dumps(obj, _MARSHAL_VERSION)
    except ValueError:
        # A transform put something into the object that no JSON decoder makes.
        return copy.deepcopy(obj)


def _differences(then: Any, now: Any, path: str = "") -> Iterator[str]:
    """Where two values differ, as dotted paths."""
    if isinstance(then, dict) and isinstance(now, dict):
        for name in dict.fromkeys((*then, *now)):
            where = f"{path}.{name}" if path else str(name)
            if (name in then) != (name in now):
                yield where
            else:
                yield from _differences(then[name], now[name], where)
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for number, (one, other) in enumerate(zip(then, now, strict=True)):
            yield from _differences(one, other, f"{path}[{number}]")
    elif type(then) is not type(now) or then != now:
        yield path or "everything"
