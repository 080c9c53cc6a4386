"""Parts of an operator that start together and stop together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from kaito_controller.machinery.cancellation import failure_of
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.log import logger

CUT_OFF_S: Final = 5.0
"""How long a part that was cut off may take to notice."""

log = logger(__name__)


class Grace:
    """How much time is left to stop in: counted from when this is made; below 0 without end, 0 none at all."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._began_at = clock.monotonic()

    def left_s(self) -> float | None:
        """Seconds left, 0 when it is over; None when there is no end."""
        if self._seconds < 0:
            return None
        return max(self._began_at + self._seconds - self._clock.monotonic(), 0.0)


class RunnableGroup:
    """Parts with one fate. What is added before the start waits for it, what is added later starts at once.

    Args:
        name: for messages.
        on_failure: called with the first words and the error of a part that failed while nothing was stopping.
    """

    def __init__(self, name: str, on_failure: Callable[[str, BaseException], None]) -> None:
        self._name = name
        self._on_failure = on_failure
        self._waiting: list[tuple[str, Callable[[asyncio.Event], Coroutine[Any, Any, None]]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._halt = asyncio.Event()
        self._is_started = False

    @property
    def is_closed(self) -> bool:
        """Whether it was asked to stop: nothing starts any more (MG4)."""
        return self._halt.is_set()

    def add(self, name: str, run: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
        """Have it run.

        Raises:
            RuntimeError: the group was asked to stop.
        """
        if self.is_closed:
            raise RuntimeError(f"{name}: cannot start any more, since the {self._name} were asked to stop")
        if self._is_started:
            self._launch(name, run)
        else:
            self._waiting.append((name, run))

    def start(self) -> None:
        """Start what waits; nothing when the group was asked to stop before."""
        self._is_started = True
        waiting, self._waiting = self._waiting, []
        for name, run in () if self.is_closed else waiting:
            self._launch(name, run)

    def close(self) -> None:
        """Ask all parts to stop; no other will start."""
        self._halt.set()

    def cut_off(self) -> None:
        """Cancel all parts, whatever time they have left; `stop` still waits for their ends."""
        self.close()
        for task in self._tasks:
            task.cancel()

    async def stop(self, grace: Grace) -> tuple[list[str], list[str]]:
        """Ask all to stop, wait, and cut off those that are not done in time.

        Returns:
            The names of those that were cut off, and of those that run on in spite of it.
        """
        self.close()
        if not self._tasks:
            return [], []
        _, overdue = await asyncio.wait(self._tasks, timeout=grace.left_s())
        for task in overdue:
            task.cancel()
        stuck: set[asyncio.Task[None]] = set()
        if overdue:
            _, stuck = await asyncio.wait(overdue, timeout=CUT_OFF_S)
        return sorted(task.get_name() for task in overdue), sorted(task.get_name() for task in stuck)

    def _launch(self, name: str, run: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.create_task(run(self._halt), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() and self.is_closed else failure_of(task)
        if error is None:
            return
        if self.is_closed:
            log.error("a part has failed while stopping", part=task.get_name(), error=str(error) or repr(error))
        else:
            self._on_failure(task.get_name(), error)
