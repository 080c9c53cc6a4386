"""Events of events.k8s.io/v1: what `kubectl describe` shows below an object. Recording never blocks and never fails.

Repeats of one event become a series of one object: the first is created, the second turns it into a series, later ones
are counted and written at intervals (EV5). A source that repeats itself without end is cut off per object (EV3).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from datetime import UTC
from random import Random
from typing import Final, Literal

from attrs import define, field, frozen

from kaito_controller.kube.core import EVENTS
from kaito_controller.kube.metadata import Object, resource_version, uid
from kaito_controller.kube.metadata import name as name_of
from kaito_controller.kube.metadata import namespace as namespace_of
from kaito_controller.machinery.client import Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiConnectionError, ApiError, is_not_found
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import Metrics

EventType = Literal["Normal", "Warning"]

# Bounds of events.k8s.io/v1 (pkg/apis/core/validation/events.go upstream).
NOTE_LIMIT: Final = 1024
INSTANCE_LIMIT: Final = 128
# client-go: a series without an occurrence for six minutes is over; a running one is written every 30 minutes (EV5).
SERIES_END_S: Final = 360.0
SERIES_WRITE_S: Final = 1800.0
# client-go's spam filter: 25 at once per object, then one every five minutes (EV3).
BURST: Final = 25
REFILL_S: Final = 300.0
# client-go: 12 tries, 10 s apart, of an event that the server did not take because it could not be reached (EV4).
TRIES: Final = 12
RETRY_S: Final = 10.0
QUEUE_LIMIT: Final = 1000
SERIES_LIMIT: Final = 4096


@frozen
class _Key:
    """What makes two events the same one."""

    regarding: str
    type: str
    reason: str
    action: str
    note: str


@define
class _Series:
    """The event object of a key, and how often it happened."""

    namespace: str
    name: str
    count: int
    last_at: float
    written_at: float


@define
class _Allowance:
    tokens: float
    at: float


@define(kw_only=True)
class EventRecorder:
    """Records events of one controller; `run` sends them. ``controller`` is the reportingController."""

    client: Client
    clock: Clock
    rng: Random
    metrics: Metrics
    controller: str
    instance: str
    _queue: deque[tuple[_Key, Object]] = field(init=False, factory=deque)
    _wake: asyncio.Event = field(init=False, factory=asyncio.Event)
    _series: OrderedDict[_Key, _Series] = field(init=False, factory=OrderedDict)
    _allowances: OrderedDict[str, _Allowance] = field(init=False, factory=OrderedDict)
    _last_stamp: int = field(init=False, default=0)

    def event(self, regarding: Object, type_: EventType, reason: str, note: str, *, action: str = "") -> None:
        """Record that something happened to ``regarding``; sent in the background, dropped when there are too many."""
        key = _Key(uid(regarding), type_, reason, action or reason, note[:NOTE_LIMIT])
        if not self._allowed(key.regarding):
            self._count("spam")
        elif len(self._queue) >= QUEUE_LIMIT:
            self._count("dropped")
        else:
            self._queue.append((key, self._object(regarding, key)))
            self._wake.set()

    async def run(self) -> None:
        """Send what is recorded until cancelled; what is queued then is `flush`'s to send."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()

    async def flush(self) -> None:
        """Send everything that is queued now."""
        while self._queue:
            key, obj = self._queue.popleft()
            await self._send(key, obj)

    async def _send(self, key: _Key, obj: Object) -> None:
        for attempt in range(TRIES):
            try:
                await self._write(key, obj)
            except ApiConnectionError:
                # The first wait is drawn so that many operators do not come back at one moment (EV4).
                await self.clock.sleep(RETRY_S * (self.rng.random() if attempt == 0 else 1))
            except ApiError as error:
                logger(__name__).warning("event refused", reason=key.reason, error=str(error))
                self._count("refused")
                return
            except Exception as error:  # noqa: BLE001 - one odd event must not end the recorder
                logger(__name__).error("event not sent", reason=key.reason, exc_info=error)
                self._count("refused")
                return
            else:
                self._count("sent")
                return
        self._count("dropped")

    async def _write(self, key: _Key, obj: Object) -> None:
        now = self.clock.monotonic()
        series = self._series.get(key)
        if series is None or now - series.last_at > SERIES_END_S:
            created = await self.client.create(EVENTS, obj)
            self._remember(key, _Series(namespace_of(created), name_of(created), 1, now, now))
            return
        series.count += 1
        series.last_at = now
        if series.count == 2 or now - series.written_at > SERIES_WRITE_S:  # noqa: PLR2004 - two make a series
            patch = {"series": {"count": series.count, "lastObservedTime": obj["eventTime"]}}
            try:
                await self.client.merge_patch(EVENTS, series.name, series.namespace, patch)
                series.written_at = now
            except ApiError as error:
                if not is_not_found(error):
                    raise
                del self._series[key]
                await self._write(key, obj)

    def _remember(self, key: _Key, series: _Series) -> None:
        self._series[key] = series
        self._series.move_to_end(key)
        if len(self._series) > SERIES_LIMIT:
            self._series.popitem(last=False)

    def _allowed(self, regarding: str) -> bool:
        now = self.clock.monotonic()
        allowance = self._allowances.setdefault(regarding, _Allowance(BURST, now))
        allowance.tokens = min(BURST, allowance.tokens + (now - allowance.at) / REFILL_S)
        allowance.at = now
        self._allowances.move_to_end(regarding)
        if len(self._allowances) > SERIES_LIMIT:
            self._allowances.popitem(last=False)
        if allowance.tokens < 1:
            return False
        allowance.tokens -= 1
        return True

    def _object(self, regarding: Object, key: _Key) -> Object:
        """The event as events.k8s.io/v1 wants it; one of a cluster-scoped object lives in namespace default (EV6)."""
        namespace = namespace_of(regarding) or "default"
        name = name_of(regarding)
        now = self.clock.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        reference = {
            "apiVersion": regarding.get("apiVersion", ""),
            "kind": regarding.get("kind", ""),
            "namespace": namespace_of(regarding),
            "name": name,
            "uid": uid(regarding),
            "resourceVersion": resource_version(regarding),
        }
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": f"{name[:200]}.{self._stamp():x}", "namespace": namespace},
            "eventTime": now,
            "reportingController": self.controller,
            "reportingInstance": self.instance[:INSTANCE_LIMIT],
            "action": key.action,
            "reason": key.reason,
            "type": key.type,
            "note": key.note,
            "regarding": {field: value for field, value in reference.items() if value},
        }

    def _stamp(self) -> int:
        """Nanoseconds since 1970, each later than the last, for names that sort by time.

        kubectl describe sorts by a timestamp that events of this API do not have, so it shows them as the server lists
        them: by name.
        """
        self._last_stamp = max(self._last_stamp + 1, int(self.clock.now().timestamp() * 1_000_000) * 1000)
        return self._last_stamp

    def _count(self, outcome: str) -> None:
        self.metrics.events.labels(outcome).inc()
