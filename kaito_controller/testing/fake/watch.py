"""One open watch: events in the order of the storage, bookmarks, and the end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from kaito_controller.kube.metadata import Object
from kaito_controller.kube.resource import Resource
from kaito_controller.machinery.clock import Clock
from kaito_controller.testing.fake.selectors import Selection
from kaito_controller.testing.fake.status import RefusalError
from kaito_controller.testing.fake.storage import Change, Collection

BOOKMARK_S = 60.0
"""About how often a bookmark comes."""
PRE_TIMEOUT_S = 2.0
"""How long before the deadline of the watch the last bookmark comes."""
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class Watch:
    """A stream of watch events as decoded objects.

    Args:
        render: brings what is sent into the form that was asked for.
        progress: the version up to which everything is known, which bookmarks carry.
        after: changes up to this version are not sent.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        render: Callable[[Object], Object],
        resource: Resource,
        collection: Collection,
        selection: Selection,
        progress: Callable[[], int],
        after: int,
    ) -> None:
        self.resource = resource
        self.collection = collection
        self._render = render
        self._clock = clock
        self._selection = selection
        self._progress = progress
        self._after = after
        self._pending: deque[Object] = deque()
        self._wake = asyncio.Event()
        self._timers: list[asyncio.TimerHandle] = []
        self._bookmark_timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self.ended = False

    def open(self, timeout_s: float, *, bookmarks: bool) -> None:
        """Take part in what happens from now on, until the time is up."""
        self.collection.subscribers.append(self.offer)
        self._deadline = self._clock.monotonic() + timeout_s
        self._timers.append(self._clock.call_later(timeout_s, self.end))
        if bookmarks:
            self._plan_bookmark()

    def offer(self, change: Change) -> None:
        """Send a change when it concerns this watch."""
        if change.version > self._after and (event := self._event(change)):
            self.send(*event)

    def send(self, kind: str, obj: Object) -> None:
        """Send one event."""
        self._pending.append({"type": kind, "object": obj if kind == "ERROR" else self._render(obj)})
        self._wake.set()

    def send_bookmark(self, *, initial_events_end: bool = False) -> None:
        """Tell how far this watch is, without an object: unless it is where it began, which the client knows."""
        version = self._progress()
        if version <= self._after and not initial_events_end:
            return
        head: Object = {"resourceVersion": str(version)}
        if initial_events_end:
            head["annotations"] = {INITIAL_EVENTS_END: "true"}
        api_version, kind = self.resource.api_version, self.resource.kind
        self.send("BOOKMARK", {"kind": kind, "apiVersion": api_version, "metadata": head})

    def fail(self, refusal: RefusalError) -> None:
        """Send an error in the stream and end it."""
        self.send("ERROR", refusal.status)
        self.end()

    def end(self) -> None:
        """End the stream after what was sent."""
        self.ended = True
        self._detach()
        self._wake.set()

    async def next(self) -> Object | None:
        """The next event; None once the stream has ended. For one reader."""
        while not self._pending:
            if self.ended:
                return None
            self._wake.clear()
            await self._wake.wait()
        return self._pending.popleft()

    def close(self) -> None:
        """The client went away."""
        self.ended = True
        self._pending.clear()
        self._detach()
        self._wake.set()

    def _event(self, change: Change) -> tuple[str, Object] | None:
        """A change seen through the selection: what leaves it is deleted, at the version of the change."""
        before = change.old is not None and self._selection.matches(change.old)
        after = change.new is not None and self._selection.matches(change.new)
        if after and change.new is not None:
            return ("MODIFIED" if before else "ADDED"), change.new
        if before and change.old is not None:
            head = change.old["metadata"] | {"resourceVersion": str(change.version)}
            return "DELETED", change.old | {"metadata": head}
        return None

    def _plan_bookmark(self) -> None:
        now = self._clock.monotonic()
        instant = min(now + BOOKMARK_S, self._deadline - PRE_TIMEOUT_S)
        if instant > now:
            self._bookmark_timer = self._clock.call_later(instant - now, self._bookmark_now)

    def _bookmark_now(self) -> None:
        self.send_bookmark()
        self._plan_bookmark()

    def _detach(self) -> None:
        if self.offer in self.collection.subscribers:
            self.collection.subscribers.remove(self.offer)
        for timer in (*self._timers, self._bookmark_timer):
            if timer is not None:
                timer.cancel()
        self._timers.clear()
