"""Answers that come later: what a reconcile asks is looked up beside it, and it is woken when the answer is there.

A lookup never waits. A first one starts the reading and is told that it goes on; when that ends, everybody who asked
meanwhile is woken, and asks again. A failure holds until it is time for the next try, which the next lookup starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from datetime import datetime, timedelta
from random import Random
from typing import Final, Generic, TypeVar

from attrs import define, frozen

from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.recent import Recent
from kaito_controller.sources.errors import SourceError, Trouble

AT_ONCE: Final = 4
"""Readings at a time; others wait their turn."""
KEPT: Final = 256
"""Answers that are kept; what was asked least recently goes."""
UNDER_WAY: Final = 1024
"""Readings that are begun or wait. More of them are told to come back."""
DEADLINE_S: Final = 300.0
"""One reading, its wait for a turn not counted: a model of 200 shards on a slow line."""
FIRST_RETRY_S: Final = 10.0
LONGEST_RETRY_S: Final = 600.0
FACTOR: Final = 2.0
JITTER: Final = 0.25
LASTING_RETRY_S: Final = 600.0
"""Where time alone does not help: somebody may accept a licence, or fix a file."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
W = TypeVar("W", bound=Hashable)

log = logger(__name__)


@frozen
class Pending:
    """It is being read; whoever asked is woken when that ends."""


@frozen
class Found(Generic[V]):
    """The answer, read at that moment."""

    value: V
    at: datetime


@frozen
class Failed:
    """Why there is no answer, and when it is tried again; whoever asks is woken then."""

    trouble: Trouble
    message: str
    retry_at: datetime


Lookup = Pending | Found[V] | Failed
"""What is known of something at a moment."""


@define
class _Failure:
    """A failure, how many there were in a row, and when the next try may begin, by the monotonic clock."""

    failed: Failed
    count: int
    until: float


class Resolver(Generic[K, V, W]):
    """Looks things up in the background.

    Args:
        read: reads one thing; raises SourceError. It is cancelled when it takes longer than `deadline_s`.
        wake: called with each of those who asked when there is news for them; must not wait.
        holds_s: for how long an answer holds; an older one is still given while it is read anew. None: for good.
    """

    def __init__(
        self,
        *,
        read: Callable[[K], Awaitable[V]],
        wake: Callable[[W], None],
        clock: Clock,
        rng: Random,
        holds_s: float | None = None,
        deadline_s: float = DEADLINE_S,
        at_once: int = AT_ONCE,
        kept: int = KEPT,
    ) -> None:
        self._read = read
        self._wake = wake
        self._clock = clock
        self._rng = rng
        self._holds_s = holds_s
        self._deadline_s = deadline_s
        self._gate = asyncio.Semaphore(at_once)
        self._found: Recent[K, tuple[Found[V], float]] = Recent(kept)
        self._failures: Recent[K, _Failure] = Recent(kept)
        self._tasks: dict[K, asyncio.Task[None]] = {}
        self._asking: dict[K, set[W]] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._is_closed = False

    def lookup(self, key: K, who: W) -> Lookup[V]:
        """What is known now; whoever asks is woken when there is more."""
        found, failure = self._found.get(key), self._failures.get(key)
        if found is not None:
            if not self._holds(found[1]) and self._is_due(failure):
                self._begin(key, who)
            return found[0]
        if failure is not None and not self._is_due(failure):
            self._remember(key, who, failure.until)
            return failure.failed
        if not self._begin(key, who):
            later = self._clock.now() + timedelta(seconds=FIRST_RETRY_S)
            return Failed(
                Trouble.BUSY, f"{len(self._tasks)} other models are being read: it is this one's turn later", later
            )
        # While a failure is tried again it still stands: a condition must not flicker.
        return failure.failed if failure is not None else Pending()

    def learn(self, key: K, value: V) -> None:
        """Take an answer that came another way, such as with that of another key."""
        self._found.put(key, (Found(value, self._clock.now()), self._clock.monotonic() + (self._holds_s or 0.0)))
        self._failures.pop(key)

    def forget(self, key: K) -> None:
        """Read it anew when it is next asked for, such as after a Secret has changed."""
        self._found.pop(key)
        self._failures.pop(key)

    async def close(self) -> None:
        """End every reading; nothing begins any more."""
        self._is_closed = True
        for timer in self._timers.values():
            timer.cancel()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def run(self, halt: asyncio.Event) -> None:
        """Be a part of an operator: close when it halts."""
        await halt.wait()
        await self.close()

    def _holds(self, until: float) -> bool:
        return self._holds_s is None or self._clock.monotonic() < until

    def _is_due(self, failure: _Failure | None) -> bool:
        return failure is None or self._clock.monotonic() >= failure.until

    def _begin(self, key: K, who: W) -> bool:
        """Have it read, unless it already is; whether it is now."""
        if key not in self._tasks:
            if self._is_closed or len(self._tasks) >= UNDER_WAY:
                return False
            self._tasks[key] = asyncio.get_running_loop().create_task(self._resolve(key), name="source")
        self._asking.setdefault(key, set()).add(who)
        return True

    def _remember(self, key: K, who: W, until: float) -> None:
        """Wake whoever asks when the next try may begin."""
        self._asking.setdefault(key, set()).add(who)
        if key not in self._timers and key not in self._tasks and not self._is_closed:
            wait_s = max(until - self._clock.monotonic(), 0.0)
            self._timers[key] = self._clock.call_later(wait_s, lambda: self._retry(key))

    def _retry(self, key: K) -> None:
        self._timers.pop(key, None)
        self._tell(key)

    async def _resolve(self, key: K) -> None:
        try:
            async with self._gate:
                async with asyncio.timeout(self._deadline_s):
                    value = await self._read(key)
        except SourceError as error:
            self._fail(key, error)
        except TimeoutError:
            limit = f"reading takes at most {self._deadline_s:g} s in all; it took longer"
            self._fail(key, SourceError(Trouble.UNREACHABLE, f"{limit}: it is tried again"))
        except Exception as error:
            log.exception("a source failed in an unforeseen way", error=type(error).__name__)
            self._fail(key, SourceError(Trouble.UNREACHABLE, f"reading failed ({type(error).__name__}); see the log"))
        else:
            self.learn(key, value)
        finally:
            self._tasks.pop(key, None)
        self._tell(key)

    def _fail(self, key: K, error: SourceError) -> None:
        before = self._failures.get(key)
        count = before.count + 1 if before is not None else 1
        wait_s = self._wait_s(error, count)
        retry_at = self._clock.now() + timedelta(seconds=wait_s)
        failed = Failed(error.trouble, str(error), retry_at)
        self._failures.put(key, _Failure(failed, count, self._clock.monotonic() + wait_s))

    def _wait_s(self, error: SourceError, count: int) -> float:
        """Until the next try: what the server asks for, and else longer with each failure."""
        growing = min(FIRST_RETRY_S * FACTOR ** min(count - 1, 30), LONGEST_RETRY_S)
        steps = growing if error.passes else LASTING_RETRY_S
        return max(steps * (1 + JITTER * self._rng.random()), error.retry_after_s or 0.0)

    def _tell(self, key: K) -> None:
        for who in self._asking.pop(key, ()):
            self._wake(who)
