"""How long an item of a queue waits after a failure: rules, and ways to combine them.

The numbers are those of client-go's `util/workqueue/default_rate_limiters.go`.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

from attrs import define, field

from kaito_controller.machinery.backoff import ItemBackoff, TokenBucket
from kaito_controller.machinery.clock import Clock

Item = TypeVar("Item", bound=Hashable)
Item_contra = TypeVar("Item_contra", bound=Hashable, contravariant=True)


class RateLimiter(Protocol[Item_contra]):
    """Decides how long an item waits, and remembers its failures until told to forget them."""

    def next_s(self, item: Item_contra) -> float:
        """Count one more failure of the item and say how many seconds it waits."""
        ...

    def forget(self, item: Item_contra) -> None:
        """Start the item over: it succeeded, or it is gone."""
        ...

    def failures(self, item: Item_contra) -> int:
        """How often the item failed since it was last forgotten."""
        ...


@define(kw_only=True)
class BucketLimiter(Generic[Item]):
    """All items share one token bucket; which of them failed how often does not matter (RL2)."""

    bucket: TokenBucket

    def next_s(self, item: Item) -> float:  # noqa: ARG002 - every item is the same to a bucket
        """Take a token and say when it is there."""
        return self.bucket.reserve()

    def forget(self, item: Item) -> None:
        """Nothing is remembered."""

    def failures(self, item: Item) -> int:  # noqa: ARG002 - as above
        """None is counted."""
        return 0


@define(kw_only=True)
class FastSlow(Generic[Item]):
    """The first failures of an item in a row wait a short time, the others a long one (RL3)."""

    fast_s: float
    slow_s: float
    fast_tries: int
    _failures: dict[Item, int] = field(init=False, factory=dict)

    def next_s(self, item: Item) -> float:
        """Count one more failure of the item and say how long to wait."""
        failures = self._failures[item] = self._failures.get(item, 0) + 1
        return self.fast_s if failures <= self.fast_tries else self.slow_s

    def forget(self, item: Item) -> None:
        """Start the item over."""
        self._failures.pop(item, None)

    def failures(self, item: Item) -> int:
        """How often the item failed since it was last forgotten."""
        return self._failures.get(item, 0)


@define
class MaxOf(Generic[Item]):
    """Asks several rules, and the longest wait counts (RL2). Each is asked each time, and forgets with the others."""

    rules: tuple[RateLimiter[Item], ...]

    def next_s(self, item: Item) -> float:
        """The longest of the waits."""
        return max([rule.next_s(item) for rule in self.rules])

    def forget(self, item: Item) -> None:
        """Have every rule start the item over."""
        for rule in self.rules:
            rule.forget(item)

    def failures(self, item: Item) -> int:
        """The highest of the counts."""
        return max(rule.failures(item) for rule in self.rules)


@define(kw_only=True)
class AtMost(Generic[Item]):
    """A rule whose waits are cut at a number of seconds (RL3)."""

    rule: RateLimiter[Item]
    cap_s: float

    def next_s(self, item: Item) -> float:
        """What the rule says, or the cap if that is less."""
        return min(self.rule.next_s(item), self.cap_s)

    def forget(self, item: Item) -> None:
        """Have the rule start the item over."""
        self.rule.forget(item)

    def failures(self, item: Item) -> int:
        """What the rule counted."""
        return self.rule.failures(item)


def overall(clock: Clock) -> RateLimiter[Item]:
    """The rule for queues without priorities: 5 ms doubling to 1000 s per item, for all 10 a second after 100 (RL4)."""
    bucket: BucketLimiter[Item] = BucketLimiter(bucket=TokenBucket(clock=clock, rate=10.0, burst=100))
    return MaxOf((ItemBackoff(), bucket))
