"""Keeping a copy of one resource in step with the API server: get everything, watch, and start over when it must be.

Everything comes by a watch that begins with what is there (WatchList streaming), which both sides handle object by
object; from a server that cannot do that, by lists. Measured on one core with the standard library's JSON, 10,000 Pods
of 5 KiB cost 1.0 s of CPU either way: as a stream in turns of 5 ms, as a list in one decode of 0.9 s in which nothing
else runs. `page_size` cuts that up, at the price of reads from etcd.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from random import Random

from attrs import define, field

from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.backoff import Backoff
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import (
    ApiConnectionError,
    ApiConnectionRefusedError,
    ApiError,
    ApiTimeoutError,
    is_busy_or_down,
    is_gone,
    is_internal,
    is_not_found,
    is_too_many_requests,
    is_version_unavailable,
)
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.reflector.collection import Collection
from kaito_controller.machinery.reflector.initial_events import InitialEvents
from kaito_controller.machinery.reflector.list_pager import ANY_VERSION, NEWEST, ListPager
from kaito_controller.machinery.reflector.live_events import LiveEvents, Sink
from kaito_controller.machinery.reflector.patience import IncompleteStreams, RetryWindow
from kaito_controller.machinery.reflector.watch_stream import WatchStream

MIN_WATCH_S = 300
"""The server ends a watch after a time drawn from this to twice as long, so that many clients do not come back at once;
asking for less is not heard, since each return costs the server (RF9)."""
SHORT_S = 1.0
"""A watch that ended sooner, without an event, would make a hot loop (RF11)."""
RETRY_AFTER_CAP_S = 60.0
"""A server that is too busy may ask for more time than the backoff gives it, but not for any amount."""

MISSING_KIND_S = 10.0
"""At most so long until a kind that is not installed is asked for again: somebody waits to start with it (CT10)."""

__all__ = ["Reflector", "ShortWatchError", "Sink"]

log = logger(__name__)


class ShortWatchError(Exception):
    """A watch ended at once and without an event."""


@define(kw_only=True, eq=False)
class Reflector:
    """Feeds a sink with everything that happens to the matching objects, for ever. No failure ends it but its cancel.

    The sink converges on the server's state whatever breaks: a watch goes on from the last version seen, and when the
    server cannot do that, everything is read again.

    Attributes:
        metadata_only: let the server send nothing but the metadata of each object.
        page_size: objects a page when listing; None lets the server answer in one piece where it can (RF2).
        min_watch_s: seconds until the server ends a watch, at least; up to twice as many. 300 when less (RF9).
        watch_list: read everything from a stream where the server can do that, instead of by lists.
        internal_error_retry_s: for how long a watch goes on at its version while it fails with internal errors; 0
            reads everything again after the first (RF14).
        backoff: the waits between tries; None takes those of client-go's reflector (RF19).
        last_error: what keeps the copy from being up to date just now, if anything.
    """

    client: Client
    resource: Resource
    sink: Sink
    clock: Clock
    rng: Random
    namespace: str | None = None
    label_selector: str = ""
    field_selector: str = ""
    metrics: Metrics | None = None
    metadata_only: bool = False
    page_size: int | None = None
    min_watch_s: int = MIN_WATCH_S
    watch_list: bool = True
    internal_error_retry_s: float = 0.0
    backoff: Backoff | None = None
    last_error: Exception | None = field(init=False, default=None)
    _is_version_unavailable: bool = field(init=False, default=False)
    _incomplete: IncompleteStreams = field(init=False, factory=IncompleteStreams)
    _collection: Collection = field(init=False)
    _pager: ListPager = field(init=False)
    _live: LiveEvents = field(init=False)
    _delays: Backoff = field(init=False)
    _retries: RetryWindow = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._collection = Collection(
            client=self.client,
            resource=self.resource,
            namespace=self.namespace,
            label_selector=self.label_selector,
            field_selector=self.field_selector,
            metadata_only=self.metadata_only,
        )
        self._live = LiveEvents(self.resource.kind, self.clock, self.sink)
        self._pager = ListPager(collection=self._collection, keep=self.sink.keep, page_size=self.page_size)
        self._delays = self.backoff or Backoff(clock=self.clock, rng=self.rng)
        self._retries = RetryWindow(self.clock, self.internal_error_retry_s)

    async def run(self) -> None:
        """Read everything and watch, until cancelled."""
        while True:
            try:
                stream = await self._stream_all()
                if stream is None:
                    await self._list_all()
                await self._watch_until_stale(stream)
            except Exception as error:  # noqa: BLE001 - whatever broke, the copy must go on being kept
                self._report(error)
            await self.clock.sleep(self._pause_s())

    def _pause_s(self) -> float:
        delay = self._delays.next_s()
        is_missing = not self._live.version and self.last_error is not None and is_not_found(self.last_error)
        return min(delay, MISSING_KIND_S) if is_missing else delay

    def _report(self, error: Exception) -> None:
        self.last_error = error
        expected = isinstance(error, ApiError | ApiConnectionError | ShortWatchError)
        log.warning(
            "keeping the copy failed; trying again", kind=self.resource.kind, error=str(error), exc_info=not expected
        )

    async def _back_off(self, error: Exception) -> None:
        """Wait before the next try at the same version: the server is busy, or down, and has not lost it."""
        self.last_error = error
        asked = (error.retry_after_s or 0.0) if isinstance(error, ApiError) else 0.0
        delay = max(self._delays.next_s(), min(asked, RETRY_AFTER_CAP_S))
        log.info("the server is busy or down", kind=self.resource.kind, error=str(error), again_in_s=round(delay, 3))
        await self.clock.sleep(delay)

    def _replace(self, objects: Sequence[Object], version: str) -> None:
        self.sink.replace(objects, version)
        self._live.version = version
        self._is_version_unavailable = False
        self.last_error = None

    async def _stream_all(self) -> WatchStream | None:
        """Fill the copy from a stream, and leave that open for what happens next; None when it must be listed."""
        while self.watch_list and not self._incomplete.are_enough:
            try:
                version = NEWEST if self._is_version_unavailable else self._live.version
                stream = await self._open(version, initial_events=True)
                if await self._take_initial_events(stream):
                    return stream
            except (ApiError, ApiConnectionError, ShortWatchError) as error:
                if not await self._streams_again_after(error):
                    log.info("no stream of everything; listing", kind=self.resource.kind, error=str(error))
                    return None
        return None

    async def _take_initial_events(self, stream: WatchStream) -> bool:
        """Whether the stream told everything. It is left open if it did, else closed."""
        was_opened = stream.is_open
        async with AsyncExitStack() as closing:
            await closing.enter_async_context(aclosing(stream))
            with InitialEvents(self.resource.kind, self.clock, self.sink.keep) as initial:
                is_complete = await stream.deliver(initial.receive, initial.patience)
            if is_complete:
                self._replace(initial.objects, initial.version)
                self._incomplete.forget()
                self._live.sends_bookmarks = True
                closing.pop_all()
                return True
        lasted_s = self._check_length(stream)
        if not was_opened:
            # It says nothing about what the server can do, so it must not be remembered.
            raise ApiTimeoutError("the stream was not opened in time")
        self._incomplete.add(overdue=stream.gave_up or lasted_s >= stream.seconds)
        log.warning(
            "a stream of everything has no end",
            kind=self.resource.kind,
            lasted_s=round(lasted_s, 3),
            listing_from_now_on=self._incomplete.are_enough,
        )
        return False

    async def _streams_again_after(self, error: Exception) -> bool:
        if is_busy_or_down(error):
            await self._back_off(error)
            return True
        if not is_version_unavailable(error) or self._is_version_unavailable:
            return False
        # What the server has now is as good as what was asked for, and better than a list (WL4).
        self._is_version_unavailable = True
        return True

    async def _list_all(self) -> None:
        """Fill the copy from lists."""
        self._count("lists")
        version = NEWEST if self._is_version_unavailable else self._live.version or ANY_VERSION
        limit = self._pager.limit(version)
        try:
            objects, version = await self._pager.read(version, limit)
        except ApiError as error:
            if not is_version_unavailable(error):
                raise
            # Only a quorum read tells where the history of this server stands now (RF5).
            self._is_version_unavailable = True
            objects, version = await self._pager.read(NEWEST, limit)
        self._replace(objects, version)

    async def _watch_until_stale(self, stream: WatchStream | None) -> None:
        """Watch, and watch again from the last version seen, until everything must be read again."""
        self._retries.forget()
        while True:
            try:
                if stream is None:
                    stream = await self._open(self._live.version)
            except (ApiError, ApiConnectionRefusedError) as error:
                if not is_busy_or_down(error):
                    raise
                await self._back_off(error)
                continue
            try:
                await self._follow(stream)
            except ApiError as error:
                if not await self._watches_again_after(error):
                    return
            stream = None

    async def _watches_again_after(self, error: ApiError) -> bool:
        """What an error in the stream leads to (RF14): another watch, or, when this is False, reading everything."""
        if is_gone(error):
            log.info("the watch is too far behind", kind=self.resource.kind, error=str(error))
            return False
        if is_too_many_requests(error):
            await self._back_off(error)
            return True
        self.last_error = error
        if is_internal(error) and self._retries.allows_another():
            return True
        log.warning("the watch ended with an error", kind=self.resource.kind, error=str(error))
        return False

    async def _open(self, version: str, *, initial_events: bool = False) -> WatchStream:
        self._count("watches")
        shortest = max(self.min_watch_s, MIN_WATCH_S)
        seconds = int(self.rng.uniform(shortest, 2 * shortest))
        return await WatchStream.open(self._collection, self.clock, version, seconds, initial_events=initial_events)

    async def _follow(self, stream: WatchStream) -> None:
        """Deliver what happens until the stream ends.

        Raises:
            ApiError: the server reported an error in the stream.
            ShortWatchError: it ended at once.
        """
        if stream.is_open:
            self.last_error = None
        self._live.begin()
        async with aclosing(stream):
            await stream.deliver(self._live.receive, self._live.patience)
        self._check_length(stream)

    def _check_length(self, stream: WatchStream) -> float:
        lasted_s = self.clock.monotonic() - stream.opened_at
        if not stream.seen and lasted_s < SHORT_S:
            raise ShortWatchError(f"{self.resource.kind}: the server ended the watch at once, without an event")
        return lasted_s

    def _count(self, family: str) -> None:
        if self.metrics is not None:
            getattr(self.metrics, family).labels(self.resource.kind).inc()
