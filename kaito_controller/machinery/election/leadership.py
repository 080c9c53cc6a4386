"""What leading means: how long it lasts, who is told of it, and how its loss is said."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from attrs import field, frozen
from attrs.validators import is_callable

# client-go's jitter (leaderelection.JitterFactor): a wait is drawn from [retry, 2.2 * retry).
JITTER: Final = 1.2


class LeadershipLostError(Exception):
    """The process led and may not go on: it has to end, and a fresh one may compete again (LE9)."""


@frozen(kw_only=True)
class Durations:
    """How long a lease lasts, how long a leader tries to renew, how often anybody tries; client-go's defaults.

    Raises ValueError when the leader would give up later than others may take over, or try too rarely (LE1).
    """

    lease_s: float = 15.0
    renew_deadline_s: float = 10.0
    retry_s: float = 2.0

    def __attrs_post_init__(self) -> None:
        if self.lease_s <= self.renew_deadline_s:
            raise ValueError(
                f"lease_s must be above renew_deadline_s, found {self.lease_s} and {self.renew_deadline_s}"
            )
        if self.renew_deadline_s <= JITTER * self.retry_s:
            raise ValueError(
                f"renew_deadline_s must exceed {JITTER} * retry_s, found {self.renew_deadline_s} and {self.retry_s}"
            )
        if self.retry_s <= 0:
            raise ValueError(f"retry_s must be above 0, found {self.retry_s}")

    @property
    def request_s(self) -> float:
        """How long one request may take, so that one that hangs does not use up the whole deadline (LE10)."""
        return max(1.0, self.renew_deadline_s / 2)


@frozen(kw_only=True)
class Callbacks:
    """What `LeaderElector.run` calls. All are required: a contender that nobody listens to is a mistake (LE1).

    Args:
        on_started_leading: the guarded work; cancelled when leadership ends.
        on_stopped_leading: called once on every end, also of one that never led, after the work was cancelled (LE7).
        on_new_leader: called with the holder's identity whenever another one is seen, also the first time (LE6).
    """

    on_started_leading: Callable[[], Coroutine[Any, Any, None]] = field(validator=is_callable())
    on_stopped_leading: Callable[[], None] = field(validator=is_callable())
    on_new_leader: Callable[[str], None] = field(validator=is_callable())
