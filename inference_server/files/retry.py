"""Trying again: how often, and after how long."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

from attrs import frozen

from inference_server.files.clock import Clock
from inference_server.files.errors import FetchError
from inference_server.files.limits import Limits

T = TypeVar("T")

_FIRST_WAIT_S: Final = 1.0


@frozen
class Passing(Exception):  # noqa: N818 - said as a sentence
    """A failure that may pass by itself, and what it is when it does not."""

    error: FetchError


def persistently(action: Callable[[], T], clock: Clock, limits: Limits) -> T:
    """Do something until it works, or raise the `FetchError` of the last attempt."""
    for number in range(limits.attempts):
        try:
            return action()
        except Passing as failure:
            if number + 1 == limits.attempts:
                raise failure.error from failure.__cause__
            pause(number, failure.error, clock, limits)
    raise AssertionError("Limits.attempts is at least 1")


def pause(number: int, error: FetchError, clock: Clock, limits: Limits) -> None:
    """Wait after failed attempt `number` (from 0); raises `error` when the other side asks for more than one waits."""
    asked_s = error.retry_after_s or 0.0
    if asked_s > limits.max_wait_s:
        raise error
    drawn_s = min(limits.max_wait_s, _FIRST_WAIT_S * 2.0**number) * (0.5 + clock.random() / 2)
    clock.sleep(max(asked_s, drawn_s))


def retry_after_s(text: str, clock: Clock) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3: seconds or a date); None for what is neither."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.fromtimestamp(clock.time(), UTC)).total_seconds())
