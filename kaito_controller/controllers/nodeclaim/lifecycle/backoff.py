"""When a claim may be tried again after its cloud said no: doubling pauses per claim, remembered outside the queue.

The queue cannot hold this pause alone: every event about the claim, our own status write included, brings it back at
once. So the time before which the cloud is not asked again is kept here, by the claim's UID.
"""

from __future__ import annotations

from attrs import define, field, frozen


@frozen(kw_only=True)
class BackoffPolicy:
    """The first pause and the longest, in seconds; each is twice the one before."""

    first_s: float
    limit_s: float

    def pause_s(self, failures: int) -> float:
        """The pause after that many failures in a row (1 or more)."""
        doublings = min(failures - 1, 32)
        return min(self.limit_s, self.first_s * 2.0**doublings)


@frozen
class _Pause:
    failures: int
    until: float


@define
class Backoff:
    """Pauses by key. Times are seconds on a monotonic clock that the caller reads."""

    _pauses: dict[str, _Pause] = field(factory=dict, init=False)

    def failed(self, key: str, policy: BackoffPolicy, now: float) -> float:
        """Note a failure and return the pause that follows it, in seconds."""
        known = self._pauses.get(key)
        failures = known.failures + 1 if known else 1
        pause = policy.pause_s(failures)
        self._pauses[key] = _Pause(failures, now + pause)
        return pause

    def remaining_s(self, key: str, now: float) -> float:
        """Seconds until the key may be tried again; 0 when it may be now."""
        known = self._pauses.get(key)
        return max(0.0, known.until - now) if known else 0.0

    def forget(self, key: str) -> None:
        """Start afresh for a key: it succeeded, or is gone."""
        self._pauses.pop(key, None)

    def release(self) -> None:
        """Let every key be tried now, once: what they wait for may have come. Counts of failures stay."""
        self._pauses = {key: _Pause(pause.failures, 0.0) for key, pause in self._pauses.items()}
