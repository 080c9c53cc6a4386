"""How long to wait before the next try: per connection, per item, and between requests."""

from __future__ import annotations

from collections.abc import Hashable
from random import Random
from typing import Generic, TypeVar

from attrs import define, field

from kaito_controller.machinery.clock import Clock

Item = TypeVar("Item", bound=Hashable)


@define(kw_only=True)
class Backoff:
    """Delays that grow by a factor up to a cap, drawn from [d, d + jitter * d), and start over after a quiet time.

    The defaults are those of client-go's reflector (RF19): [0.8, 1.6), [1.6, 3.2) ... [30, 60) seconds, starting over
    when more than two minutes passed since they last did.
    """

    clock: Clock
    rng: Random
    initial_s: float = 0.8
    factor: float = 2.0
    cap_s: float = 30.0
    jitter: float = 1.0
    reset_after_s: float = 120.0
    _next_s: float = field(init=False)
    _last_start: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._next_s = self.initial_s
        self._last_start = self.clock.monotonic()

    def next_s(self) -> float:
        """The seconds to wait now."""
        now = self.clock.monotonic()
        if now - self._last_start > self.reset_after_s:
            self._next_s = self.initial_s
            self._last_start = now
        delay = self._next_s
        self._next_s = min(delay * self.factor, self.cap_s)
        return delay * (1 + self.jitter * self.rng.random())


@define(kw_only=True)
class ItemBackoff(Generic[Item]):
    """Per item, delays that double with each failure in a row: 5 ms, 10 ms ... up to 1000 s (RL1)."""

    base_s: float = 0.005
    cap_s: float = 1000.0
    _failures: dict[Item, int] = field(init=False, factory=dict)

    def next_s(self, item: Item) -> float:
        """Count one more failure of the item and say how long to wait."""
        failures = self._failures.get(item, 0)
        self._failures[item] = failures + 1
        # 2**60 times any base is above every cap: the exponent is bounded so that a float never overflows.
        return min(self.base_s * 2.0 ** min(failures, 60), self.cap_s)

    def forget(self, item: Item) -> None:
        """Start the item over: it succeeded, or it is gone."""
        self._failures.pop(item, None)

    def failures(self, item: Item) -> int:
        """How often the item failed since it was last forgotten."""
        return self._failures.get(item, 0)


@define(kw_only=True)
class TokenBucket:
    """At most `burst` at once and `rate` a second in the long run."""

    clock: Clock
    rate: float
    burst: int
    _tokens: float = field(init=False)
    _at: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._tokens = float(self.burst)
        self._at = self.clock.monotonic()

    def _refill(self) -> None:
        now = self.clock.monotonic()
        self._tokens = min(float(self.burst), self._tokens + (now - self._at) * self.rate)
        self._at = now

    def take(self) -> bool:
        """Take a token if there is one."""
        self._refill()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def reserve(self) -> float:
        """Take the next token, even one that is not there yet, and say in how many seconds it will be."""
        self._refill()
        self._tokens -= 1
        return max(0.0, -self._tokens / self.rate)

    async def wait(self) -> None:
        """Take a token, waiting for it in turn when there is none."""
        seconds = self.reserve()
        if seconds > 0:
            await self.clock.sleep(seconds)
