"""Which recorded events are the same, which are alike, and which are too many; pure.

Three rules, in client-go's numbers, carried over to events.k8s.io/v1. The same event again becomes a *series* of the
first one: its count goes up, and few writes tell of it (EV5). From the tenth *different* note about one thing within
ten minutes on, further ones are combined in one event (EV1). And of one object only so many writes are made (EV3).
client-go's recorder for this API knows the first rule alone, and counts events with different notes as one series, so
that all notes but the first are lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import define, evolve, field, frozen

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.recent import Recent

# tools/events: a series without an occurrence for six minutes is over; a running one is written every half an hour.
SERIES_END_S: Final = 360.0
SERIES_WRITE_S: Final = 1800.0
# tools/record: the tenth different message within ten minutes is combined with those to come.
ALIKE_LIMIT: Final = 10
ALIKE_S: Final = 600.0
COMBINED: Final = "(combined from similar events): "
# tools/record's spam filter: 25 at once per object, then one every five minutes.
BURST: Final = 25
REFILL_S: Final = 300.0
CACHE_LIMIT: Final = 4096


@frozen(kw_only=True)
class Happening:
    """What makes two events the same one. Reporting controller and instance are those of the one recorder."""

    regarding: tuple[str, ...]
    related: tuple[str, ...] = ()
    type: str
    reason: str
    action: str
    note: str

    @property
    def subject(self) -> tuple[object, ...]:
        """What alike events have in common: all but the note."""
        return (self.regarding, self.related, self.type, self.reason, self.action)


@define(kw_only=True, eq=False)
class Series:
    """One event object and how often it happened; `written` is how often the server knows of."""

    happening: Happening
    event: Object
    last_at: float
    last_time: str
    count: int = 1
    written: int = 0
    is_created: bool = False
    is_queued: bool = False

    @property
    def is_unwritten(self) -> bool:
        """Whether the server does not know of all that happened."""
        return self.written < self.count


@define
class _Alike:
    notes: set[int] = field(factory=set)
    last_at: float = 0.0


@define
class _Allowance:
    tokens: float
    at: float


@define
class Correlator:
    """Tells what is to be written. All its memories are bounded."""

    limit: int = CACHE_LIMIT
    _series: Recent[Happening, Series] = field(init=False)
    _alike: Recent[tuple[object, ...], _Alike] = field(init=False)
    _allowances: Recent[tuple[object, ...], _Allowance] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._series = Recent(self.limit)
        self._alike = Recent(self.limit)
        self._allowances = Recent(self.limit)

    def combined(self, happening: Happening, now: float) -> Happening | None:
        """The common happening of all further notes when this one is too many of its like, else None."""
        subject = happening.subject
        alike = self._alike.get(subject)
        if alike is None or now - alike.last_at > ALIKE_S:
            alike = _Alike()
            self._alike.put(subject, alike)
        alike.last_at = now
        note = hash(happening.note)
        if note in alike.notes:
            return None
        if len(alike.notes) >= ALIKE_LIMIT - 1:
            return evolve(happening, note="")
        alike.notes.add(note)
        return None

    def again(self, happening: Happening, now: float, time: str) -> Series | None:
        """Count one more of a running series and return it; None when this would be a first one."""
        series = self._series.get(happening)
        if series is None or now - series.last_at > SERIES_END_S:
            return None
        series.count += 1
        series.last_at, series.last_time = now, time
        return series

    def begin(self, series: Series) -> list[Series]:
        """Remember a new series, and return those that are over by that and not written."""
        gone = (self._series.pop(series.happening), self._series.put(series.happening, series))
        return [each for each in gone if each is not None and each.is_created and each.is_unwritten]

    def may_write(self, happening: Happening, now: float) -> bool:
        """Whether one more write about this object is not too many; takes a token when it is not."""
        key = (happening.regarding, happening.type)
        allowance = self._allowances.get(key)
        if allowance is None:
            allowance = _Allowance(BURST, now)
            self._allowances.put(key, allowance)
        allowance.tokens = min(BURST, allowance.tokens + (now - allowance.at) / REFILL_S)
        allowance.at = now
        if allowance.tokens < 1:
            return False
        allowance.tokens -= 1
        return True

    def running(self) -> Iterator[Series]:
        """The series of more than one occurrence."""
        return (series for _, series in self._series.items() if series.count > 1)

    def finish(self, now: float) -> list[Series]:
        """Forget what has ended, and return what of it is still to be written."""
        ended = [series for _, series in self._series.items() if now - series.last_at > SERIES_END_S]
        for series in ended:
            self._series.pop(series.happening)
        return [series for series in ended if series.count > 1 and series.is_unwritten]
