"""Telling handlers of everything again, now and then: a net under whatever a handler let fall."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from kaito_controller.machinery.cache.event import Change, Event
from kaito_controller.machinery.cache.registration import BATCH, Registration
from kaito_controller.machinery.cache.store import Store
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.log import logger

SHORTEST_S: Final = 1.0
"""A shorter period is taken for this one (SI9)."""

log = logger(__name__)


class Resync:
    """Each handler's own timetable, counted from the first list or from when the handler came, whichever was later.

    So no handler waits for another's timer, and the first turn is never skipped (SI8).
    """

    def __init__(self, clock: Clock, store: Store, period_s: float) -> None:
        self._clock = clock
        self._store = store
        self._default_s = period_s
        self._shortest_s = period_s
        self._due: dict[Registration, float] = {}
        self._changed = asyncio.Event()
        self._is_running = False

    def period(self, asked_s: float | None) -> float:
        """The period that a handler gets which asks for this one; None asks for the informer's (SI9).

        Under an informer that does not resync nobody is. A period shorter than the informer's makes it the informer's,
        but only before it runs.
        """
        wanted = self._default_s if asked_s is None else asked_s
        if wanted <= 0 or self._shortest_s <= 0:
            return 0.0
        wanted = max(wanted, SHORTEST_S)
        if wanted < self._shortest_s:
            if self._is_running:
                log.warning("a handler is resynced no more often than its informer", asked_s=wanted)
                return self._shortest_s
            self._shortest_s = wanted
        return wanted

    def enrol(self, registration: Registration) -> None:
        """Begin to count for a handler; before the first list this waits for it."""
        if registration.resync_s > 0:
            self._due[registration] = self._clock.monotonic() + registration.resync_s
            self._changed.set()

    def strike(self, registration: Registration) -> None:
        """Resync a handler no more."""
        if self._due.pop(registration, None) is not None:
            self._changed.set()

    def start(self) -> None:
        """The informer runs: from now on its period stands."""
        self._is_running = True

    async def run(self, synced: asyncio.Event) -> None:
        """Tell whoever is due, from the first list on, until cancelled."""
        await synced.wait()
        for registration in self._due:
            self._due[registration] = self._clock.monotonic() + registration.resync_s
        while True:
            await self._wait()
            await self._tell(self._take_due())

    async def _wait(self) -> None:
        """Wait until somebody is due, or the timetable has changed."""
        self._changed.clear()
        if not self._due:
            await self._changed.wait()
            return
        try:
            async with asyncio.timeout(min(self._due.values()) - self._clock.monotonic()):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _take_due(self) -> Sequence[Registration]:
        now = self._clock.monotonic()
        due = [registration for registration, at in self._due.items() if at <= now]
        for registration in due:
            self._due[registration] = max(self._due[registration] + registration.resync_s, now)
        return due

    async def _tell(self, due: Sequence[Registration]) -> None:
        """Tell these handlers of every object as the store has it at that moment: never older than told before."""
        if not due:
            return
        for number, key in enumerate(self._store.keys()):
            if number % BATCH == BATCH - 1:
                await self._clock.sleep(0)
            obj = self._store.get(key)
            if obj is not None:
                event = Event(change=Change.UPDATED, object=obj, old=obj)
                for registration in due:
                    registration.tell(event)
