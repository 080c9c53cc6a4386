"""Events of events.k8s.io/v1: what `kubectl describe` shows below an object. Recording never blocks and never fails.

What is to be written is decided at once and in memory (see `correlator`); writes wait in a bounded queue for one
sender, in order. The server's outages cost events, never a reconcile (EV6).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from itertools import count
from random import Random
from typing import Final, Literal

from attrs import define, field

from kaito_controller.kube.core import EVENTS
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.timestamps import format_micro_timestamp
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiConnectionError, ApiError, is_already_exists, is_not_found
from kaito_controller.machinery.events.correlator import (
    COMBINED,
    SERIES_END_S,
    SERIES_WRITE_S,
    Correlator,
    Happening,
    Series,
)
from kaito_controller.machinery.events.reporter import ACTION_LIMIT, NOTE_LIMIT, Reporter, cut, identity
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import Metrics

EventType = Literal["Normal", "Warning"]

# client-go: 12 tries, 10 s apart, of an event that the server did not take because it could not be reached (EV4).
TRIES: Final = 12
RETRY_S: Final = 10.0
QUEUE_LIMIT: Final = 1000

log = logger(__name__)


class _CreatedMeanwhileError(Exception):
    """The event of a series was there after all: try again, and it is patched."""


@define(kw_only=True)
class EventRecorder:
    """Records events of one controller; `run` sends them. ``controller`` is the reportingController."""

    client: Client
    clock: Clock
    rng: Random
    metrics: Metrics
    controller: str
    instance: str
    _correlator: Correlator = field(init=False, factory=Correlator)
    _queue: deque[Series] = field(init=False, factory=deque)
    _wake: asyncio.Event = field(init=False, factory=asyncio.Event)
    _sending: asyncio.Lock = field(init=False, factory=asyncio.Lock)
    _is_closed: bool = field(init=False, default=False)
    _last_stamp: int = field(init=False, default=0)

    def event(
        self,
        regarding: Object,
        type_: EventType,
        reason: str,
        note: str,
        *,
        action: str = "",
        related: Object | None = None,
    ) -> None:
        """Record that something happened to ``regarding``; sent in the background, dropped when there are too many.

        ``action`` is what the controller did or wanted to do, the reason when nothing is given; ``related`` is a second
        object that plays a part. Whatever is wrong with the arguments, nothing is raised.
        """
        try:
            happening = Happening(
                regarding=identity(regarding),
                related=identity(related) if related is not None else (),
                type=type_,
                reason=reason,
                action=cut(action or reason, ACTION_LIMIT),
                note=cut(note, NOTE_LIMIT),
            )
            self._record(happening, regarding, related)
        except Exception:
            # An event is never worth a reconcile.
            log.exception("event not recorded", reason=reason)
            self._count("refused")

    async def run(self) -> None:
        """Send what is recorded until cancelled; what is queued then is `close`'s to send."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_recorded(), name="events: sender")
            group.create_task(self._tend(), name="events: series")

    async def flush(self) -> None:
        """Send everything that is queued now."""
        async with self._sending:
            while self._queue:
                series = self._queue[0]
                series.is_queued = False
                await self._send(series)
                # Not before it is sent: what a cancelled sender was at is sent again by the next one.
                self._queue.popleft()

    async def close(self) -> None:
        """Send what is queued and the last counts of series; what is recorded from now on is dropped (EV7)."""
        self._is_closed = True
        waiting = set(self._queue)
        self._queue.extend(each for each in self._correlator.running() if each.is_unwritten and each not in waiting)
        await self.flush()

    def _record(self, happening: Happening, regarding: Object, related: Object | None) -> None:
        now = self.clock.monotonic()
        common = self._correlator.combined(happening, now)
        series = self._correlator.again(common or happening, now, format_micro_timestamp(self.clock.now()))
        if series is not None:
            self._count("counted")
            # Two make a series, and the server is told so; of the others it hears when the series is tended (EV5).
            if series.count == 2 and self._correlator.may_write(happening, now):  # noqa: PLR2004
                self._enqueue([series])
        elif not self._correlator.may_write(happening, now):
            self._count("spam")
        elif self._is_closed or len(self._queue) >= QUEUE_LIMIT:
            self._count("dropped")
        else:
            note = cut(COMBINED + happening.note, NOTE_LIMIT) if common else happening.note
            event = self._event(happening, note, regarding, related)
            series = Series(
                happening=common or happening, event=event, last_at=now, last_time=event["eventTime"], is_queued=True
            )
            self._queue.append(series)
            self._enqueue(self._correlator.begin(series))
            self._wake.set()

    def _enqueue(self, changed: Iterable[Series]) -> None:
        for series in changed:
            if series.is_queued:
                continue
            if self._is_closed or len(self._queue) >= QUEUE_LIMIT:
                self._count("dropped")
                continue
            series.is_queued = True
            self._queue.append(series)
            self._wake.set()

    async def _send_recorded(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()

    async def _tend(self) -> None:
        """Every six minutes write and forget the series that have ended; every half hour write the running ones."""
        for turn in count(1):
            await self.clock.sleep(SERIES_END_S)
            self._enqueue(self._correlator.finish(self.clock.monotonic()))
            if turn % round(SERIES_WRITE_S / SERIES_END_S) == 0:
                # All of them, changed or not: a write also keeps the server from expiring the event.
                self._enqueue(self._correlator.running())

    async def _send(self, series: Series) -> None:
        for attempt in range(TRIES):
            if attempt:
                # The first wait is drawn so that many operators do not come back at one moment (EV4).
                await self.clock.sleep(RETRY_S * (self.rng.random() if attempt == 1 else 1))
            try:
                await self._write(series)
            except (ApiConnectionError, _CreatedMeanwhileError):
                continue
            except ApiError as error:
                log.warning("event refused", reason=series.happening.reason, error=str(error))
                self._count("refused")
                return
            except Exception:
                # One odd event must not end the recorder.
                log.exception("event not sent", reason=series.happening.reason)
                self._count("refused")
                return
            self._count("sent")
            return
        self._count("dropped")

    async def _write(self, series: Series) -> None:
        known, tail = series.count, {}
        if known > 1:
            tail = {"series": {"count": known, "lastObservedTime": series.last_time}}
        if series.is_created:
            head = series.event["metadata"]
            try:
                await self.client.merge_patch(EVENTS, head["name"], head["namespace"], tail)
            except ApiError as error:
                if not is_not_found(error):
                    raise
                # It has expired on the server, or somebody deleted it: the whole of it again, under its old name.
                series.is_created = False
        if not series.is_created:
            await self._create(series, series.event | tail)
        series.written = known

    async def _create(self, series: Series, event: Object) -> None:
        try:
            await self.client.create(EVENTS, event)
        except ApiError as error:
            if not is_already_exists(error):
                raise
            # Its name is ours alone, so a try whose answer was lost has made it.
            series.is_created = True
            if "series" in event:
                raise _CreatedMeanwhileError from error
        series.is_created = True

    def _event(self, happening: Happening, note: str, regarding: Object, related: Object | None) -> Object:
        reporter = Reporter(controller=self.controller, instance=self.instance)
        return reporter.event(
            happening, note, regarding, related, stamp=self._stamp(), time=format_micro_timestamp(self.clock.now())
        )

    def _stamp(self) -> int:
        """Nanoseconds since 1970, each later than the last, for names that sort by time.

        kubectl describe sorts by a timestamp that events of this API do not have, so it shows them as the server lists
        them: by name.
        """
        self._last_stamp = max(self._last_stamp + 1, int(self.clock.now().timestamp() * 1_000_000) * 1000)
        return self._last_stamp

    def _count(self, outcome: str) -> None:
        self.metrics.events.labels(outcome).inc()
