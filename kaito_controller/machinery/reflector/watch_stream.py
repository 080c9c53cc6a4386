"""One open watch: bytes to events, in turns that leave time for others, until it ends or is given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any, Self

from attrs import define, field

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery import codec
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiConnectionError, ApiConnectionLostError, ApiError, ApiTimeoutError
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.reflector.collection import Collection

OVERDUE_S = 30.0
"""How long after its own deadline a watch that the server did not end is given up (RF22)."""
BATCH = 200
BATCH_S = 0.005
"""Events, or seconds of work, after which the event loop gets a turn, so that a storm starves nobody."""

OBJECT_LEVEL = 2
"""Where the object of an event is, in levels of JSON."""

Receive = Callable[[str, Object, str], bool]
"""Takes the type, the object and the resourceVersion of an event; True asks to be given no more for now."""

log = logger(__name__)


@define(kw_only=True, eq=False)
class WatchStream:
    """A watch that was opened. Whoever opened it closes it, once.

    Attributes:
        opened_at: the clock's monotonic time before the request was sent.
        seconds: after how many seconds the server was asked to end it.
        seen: events that were handed over, or passed over for their type.
        gave_up: whether it was left because nothing came in time, and not ended by the other side.
    """

    collection: Collection
    clock: Clock
    opened_at: float
    seconds: int
    seen: int = field(init=False, default=0)
    gave_up: bool = field(init=False, default=False)
    _chunks: AsyncIterator[bytes] | None = field(init=False, default=None)
    _lines: Iterator[bytes] = field(init=False, factory=lambda: iter(()))
    _splitter: codec.LineSplitter = field(init=False, factory=codec.LineSplitter)
    _open: AsyncExitStack = field(init=False, factory=AsyncExitStack)
    _left: int = field(init=False, default=BATCH)
    _has_warned: bool = field(init=False, default=False)

    @classmethod
    async def open(
        cls, collection: Collection, clock: Clock, version: str, seconds: int, *, initial_events: bool = False
    ) -> Self:
        """Send the request. A connection that breaks or is silent meanwhile makes a stream without events (RF13).

        Raises:
            ApiError: the server refused.
            ApiConnectionError: the server was not reached.
        """
        stream = cls(collection=collection, clock=clock, opened_at=clock.monotonic(), seconds=seconds)
        answer = collection.watch(version, seconds, initial_events=initial_events)
        try:
            async with asyncio.timeout_at(stream.ends_at):
                stream._chunks = await stream._open.enter_async_context(answer)
        except (ApiConnectionLostError, ApiTimeoutError, TimeoutError) as error:
            stream.gave_up = isinstance(error, TimeoutError)
            log.debug("a watch was not opened", kind=collection.resource.kind, error=str(error))
        return stream

    @property
    def ends_at(self) -> float:
        """The instant at which it is given up, whatever still comes."""
        return self.opened_at + self.seconds + OVERDUE_S

    @property
    def is_open(self) -> bool:
        """Whether the server answered, and nobody has hung up."""
        return self._chunks is not None

    async def aclose(self) -> None:
        """Hang up."""
        end = getattr(self._chunks, "aclose", None)
        self._chunks = None
        if end is not None:
            await end()
        await self._open.aclose()

    async def deliver(self, receive: Receive, patience: Callable[[], float]) -> bool:
        """Hand events over in their order until the receiver has had enough (True) or the stream ends (False).

        A connection that breaks is an end like any other (RF15). `patience` tells, before each wait for more bytes,
        the instant until which they must come.

        Raises:
            ApiError: the server reports an error in the stream, or sent what is no event: a 500 InternalError (RF15).
        """
        clock, left = self.clock, self._left
        turn_ends = clock.monotonic() + BATCH_S
        while True:
            for line in self._lines:
                if self._take(line, receive):
                    self._left = left
                    return True
                left -= 1
                if left <= 0 or clock.monotonic() > turn_ends:
                    await clock.sleep(0)
                    left, turn_ends = BATCH, clock.monotonic() + BATCH_S
            asked_at = clock.monotonic()
            chunk = await self._next_chunk(min(patience(), self.ends_at))
            if chunk is None:
                return False
            # Others had their turn while this waited.
            turn_ends += clock.monotonic() - asked_at
            self._lines = iter(self._split(chunk))
            # The next wait may take minutes.
            del chunk

    async def _next_chunk(self, deadline: float) -> bytes | None:
        if self._chunks is None:
            return None
        if self.clock.monotonic() >= deadline:
            # Bytes that are there already would be handed out without a wait, and without looking at the time.
            self.gave_up = True
            return None
        try:
            async with asyncio.timeout_at(deadline):
                return await anext(self._chunks)
        except StopAsyncIteration:
            return None
        except (ApiConnectionError, TimeoutError) as error:
            self.gave_up = isinstance(error, TimeoutError) and not isinstance(error, ApiConnectionError)
            log.debug("a watch broke off", kind=self.collection.resource.kind, error=str(error))
            return None

    def _split(self, chunk: bytes) -> list[bytes]:
        try:
            return self._splitter.feed(chunk)
        except ValueError as error:
            raise _undecodable(str(error)) from error

    def _take(self, line: bytes, receive: Receive) -> bool:
        try:
            event = _event(line)
            kind, obj = event["type"], event["object"]
        except (ValueError, TypeError, KeyError) as error:
            raise _undecodable(f"{line[:120]!r}: {error}") from error
        if kind == "ERROR":
            raise ApiError.from_status(obj if isinstance(obj, dict) else {})
        if not self.collection.holds(obj) or (kind != "BOOKMARK" and not obj["metadata"].get("name")):
            self._pass_over(kind, obj)
            return False
        self.seen += 1
        return receive(kind, obj, str(obj["metadata"].get("resourceVersion") or ""))

    def _pass_over(self, kind: object, obj: object) -> None:
        # A server that sends one foreign object sends thousands: one warning a stream tells as much.
        report = log.debug if self._has_warned else log.warning
        self._has_warned = True
        found = obj.get("kind") if isinstance(obj, dict) else type(obj).__name__
        report("an event without an object of the kind", kind=self.collection.resource.kind, type=kind, found=found)


def _event(line: bytes) -> Any:
    """An event. An object that nests too deep to be read has `codec.CUT`, and is not whole.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return codec.loads(line)
    except ValueError:
        # Every watch from this version on would meet it again, and end there.
        return codec.shortened(line, OBJECT_LEVEL)


def _undecodable(text: str) -> ApiError:
    return ApiError(500, "InternalError", f"ClientWatchDecoding: this is no watch event: {text}")
