"""Keeping a copy of one resource in step with the API server: list, watch, and list again when it must be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import Any, Protocol

from attrs import define, field

from kaito_controller.kube.metadata import Object, resource_version
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery import codec
from kaito_controller.machinery.backoff import Backoff
from kaito_controller.machinery.client import PAGE_SIZE, Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import (
    ApiConnectionError,
    ApiError,
    is_gone,
    is_too_large_resource_version,
    is_too_many_requests,
)
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import Metrics

WATCH_S = (300, 600)
"""The server ends a watch after a time drawn from this range, so that many clients do not come back at once (RF9)."""
OVERDUE_S = 30.0
"""How long after its own deadline a watch that the server did not end is given up (RF22)."""
SILENCE_S = 90.0
"""Servers send a bookmark about every minute; one that stays silent for longer is taken for dead (RF24)."""
SHORT_S = 1.0
"""A watch that ended sooner, without an event, would make a hot loop (RF11)."""
BATCH = 200
BATCH_S = 0.005
"""Events, or seconds, after which the event loop gets a turn, so that a storm starves nobody."""

log = logger(__name__)


class Sink(Protocol):
    """Where a reflector delivers. Every call happens within one step of the event loop."""

    def replace(self, objects: Sequence[Object], version: str) -> None:
        """These are all objects at that version."""
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


class ShortWatchError(Exception):
    """A watch ended at once and without an event."""


@define(kw_only=True)
class Reflector:
    """Feeds a sink with everything that happens to the matching objects, for ever. No failure ends it but its cancel.

    The sink converges on the server's state whatever breaks: a watch goes on from the last version seen, and when the
    server cannot do that, everything is listed again.
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
    last_error: Exception | None = field(init=False, default=None)
    _version: str = field(init=False, default="")
    _is_version_unavailable: bool = field(init=False, default=False)
    _is_paged: bool = field(init=False, default=False)
    _sends_bookmarks: bool = field(init=False, default=False)
    _seen: int = field(init=False, default=0)
    _backoff: Backoff = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._backoff = Backoff(clock=self.clock, rng=self.rng)

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            try:
                await self._list()
                await self._watch_until_stale()
            except Exception as error:  # noqa: BLE001 - whatever broke, the copy must go on being kept
                self._report(error)
            await self.clock.sleep(self._backoff.next_s())

    def _report(self, error: Exception) -> None:
        self.last_error = error
        expected = isinstance(error, ApiError | ApiConnectionError | ShortWatchError)
        log.warning(
            "list and watch failed; trying again", kind=self.resource.kind, error=str(error), exc_info=not expected
        )

    async def _list(self) -> None:
        self._count("lists")
        try:
            objects, version = await self._pages("" if self._is_version_unavailable else self._version or "0")
        except ApiError as error:
            if not (is_gone(error) or is_too_large_resource_version(error)) or self._is_version_unavailable:
                raise
            # Only a quorum read tells where the history of this server stands now (RF5).
            self._is_version_unavailable = True
            objects, version = await self._pages("")
        self.sink.replace(objects, version)
        self._version = version
        self._is_version_unavailable = False
        self.last_error = None

    async def _pages(self, version: str) -> tuple[list[Object], str]:
        # A watch cache serves a list at a version whole; a limit would send the request on to etcd (RF2).
        limit = PAGE_SIZE if self._is_paged or version in {"", "0"} else 0
        page = await self._page(version, limit, "")
        if page.continue_token and version == "0":
            self._is_paged = True
        objects, first = page.items, page
        while page.continue_token:
            try:
                page = await self._page("", limit, page.continue_token)
            except ApiError as error:
                if not is_gone(error):
                    raise
                whole = await self._page(version, 0, "")
                return whole.items, whole.resource_version
            objects += page.items
        return objects, first.resource_version

    async def _page(self, version: str, limit: int, token: str) -> Any:
        return await self.client.list_page(
            self.resource,
            self.namespace,
            label_selector=self.label_selector,
            field_selector=self.field_selector,
            resource_version=version,
            limit=limit,
            continue_token=token,
        )

    async def _watch_until_stale(self) -> None:
        """Watch, and watch again from the last version seen, until only a list can help."""
        while True:
            try:
                await self._watch()
            except ApiError as error:
                if is_gone(error):
                    log.info("the watch is too far behind; listing again", kind=self.resource.kind, error=str(error))
                    return
                if not is_too_many_requests(error):
                    raise
                await self.clock.sleep(self._backoff.next_s())
            except ApiConnectionError as error:
                # The server is down or starting: the version stays good, so no list is needed (RF12).
                self.last_error = error
                log.info("the watch cannot be opened; trying again", kind=self.resource.kind, error=str(error))
                await self.clock.sleep(self._backoff.next_s())

    async def _watch(self) -> None:
        """One watch from opening to its end.

        Raises:
            ApiConnectionError: it could not be opened.
            ApiError: it was refused, or the server reported an error in the stream.
            ShortWatchError: it ended at once.
        """
        self._count("watches")
        self._seen = 0
        started = self.clock.monotonic()
        seconds = self.rng.randint(*WATCH_S)
        is_open = False
        try:
            async with (
                asyncio.timeout(seconds + OVERDUE_S) as deadline,
                self.client.watch(
                    self.resource,
                    self.namespace,
                    label_selector=self.label_selector,
                    field_selector=self.field_selector,
                    resource_version=self._version,
                    timeout_s=seconds,
                ) as chunks,
            ):
                is_open = True
                self.last_error = None
                await self._consume(chunks, deadline)
        except (ApiConnectionError, TimeoutError) as error:
            if not is_open:
                raise ApiConnectionError(str(error) or "the watch was not opened in time") from error
            # A connection that breaks or goes silent is the end of a watch like any other (RF15, RF24).
            log.debug("the watch broke off", kind=self.resource.kind, error=str(error))
        if not self._seen and self.clock.monotonic() - started < SHORT_S:
            raise ShortWatchError(f"{self.resource.kind}: the server ended the watch at once, without an event")

    async def _consume(self, chunks: AsyncIterator[bytes], deadline: asyncio.Timeout) -> None:
        splitter = codec.LineSplitter()
        end = deadline.when() or 0.0
        since, busy_from = 0, self.clock.monotonic()
        async for chunk in chunks:
            for line in splitter.feed(chunk):
                self._receive(line)
                since += 1
                if since >= BATCH or self.clock.monotonic() - busy_from > BATCH_S:
                    await self.clock.sleep(0)
                    since, busy_from = 0, self.clock.monotonic()
            if self._sends_bookmarks:
                deadline.reschedule(min(end, asyncio.get_running_loop().time() + SILENCE_S))
            busy_from = self.clock.monotonic()

    def _receive(self, line: bytes) -> None:
        try:
            event = codec.loads(line)
            kind, obj = str(event["type"]), event["object"]
        except (ValueError, TypeError, KeyError) as error:
            raise ApiError(500, "InternalError", f"ClientWatchDecoding: no watch event: {line[:120]!r}") from error
        if kind == "ERROR":
            raise ApiError.from_status(obj if isinstance(obj, dict) else {})
        self._seen += 1
        version = self._version_of(obj)
        if not version:
            log.warning("an event of another kind or without a version is skipped", kind=self.resource.kind, type=kind)
            return
        self._deliver(kind, obj, version)
        self._version = version

    def _deliver(self, kind: str, obj: Object, version: str) -> None:
        match kind:
            case "ADDED" | "MODIFIED":
                self.sink.changed(obj)
            case "DELETED":
                self.sink.deleted(obj)
            case "BOOKMARK":
                self._sends_bookmarks = True
                self.sink.bookmark(version)
            case _:
                log.warning("an event of unknown type is passed over", kind=self.resource.kind, type=kind)

    def _version_of(self, obj: Any) -> str:
        """The resource version of an object of our kind; empty for anything else (RF16)."""
        if not isinstance(obj, dict) or obj.get("kind") != self.resource.kind:
            return ""
        if obj.get("apiVersion") != self.resource.api_version or not isinstance(obj.get("metadata"), dict):
            return ""
        return resource_version(obj)

    def _count(self, family: str) -> None:
        if self.metrics is not None:
            getattr(self.metrics, family).labels(self.resource.kind).inc()
