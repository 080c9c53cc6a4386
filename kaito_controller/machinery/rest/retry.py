"""Which answers are worth another request, after how long, and what a refusal says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from random import Random
from typing import Final, TypeVar

from attrs import frozen
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from kaito_controller.machinery import codec
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import (
    ApiConnectionLostError,
    ApiError,
    is_conflict,
    is_too_large_resource_version,
)

RETRIES = 10
"""How often one call is sent again at most, as client-go does: eleven tries in all (RC2)."""
RECONNECT_S = 1.0
"""The wait before a read is sent again whose connection broke."""

T = TypeVar("T")


@frozen(kw_only=True)
class Steps:
    """Waits between tries that grow by a factor, each drawn from [d, d + jitter * d).

    Attributes:
        tries: how often something is done, the first time included.
    """

    tries: int
    first_s: float = 0.01
    factor: float = 1.0
    jitter: float = 0.1

    def wait_s(self, done: int, rng: Random) -> float:
        """Seconds to wait after that many tries."""
        return self.first_s * self.factor ** (done - 1) * (1 + self.jitter * rng.random())


DEFAULT_RETRY: Final = Steps(tries=5)
"""For an object that several write to, each its own fields: client-go's `retry.DefaultRetry`."""
DEFAULT_BACKOFF: Final = Steps(tries=4, factor=5.0)
"""For an object that another controller is busy with: client-go's `retry.DefaultBackoff`."""


async def retry_on_conflict(
    change: Callable[[], Awaitable[T]], *, clock: Clock, rng: Random, steps: Steps = DEFAULT_RETRY
) -> T:
    """Run a change until it meets no conflict, and raise the last conflict when the tries are used up (PT5).

    `change` reads the object, changes it and writes it. All of it is done again, since only a fresh read can help.

    Raises:
        ApiError: the last conflict; or another failure, at once.
    """
    retrying = AsyncRetrying(
        sleep=clock.sleep,
        retry=retry_if_exception(is_conflict),
        wait=lambda state: steps.wait_s(state.attempt_number, rng),
        stop=stop_after_attempt(steps.tries),
        reraise=True,
    )
    result: T = await retrying(change)
    return result


async def send_again(attempt: Callable[[], Awaitable[T]], *, method: str, clock: Clock) -> T:
    """Send a request until it is answered, as often and as soon as the server and `RETRIES` allow (RC2).

    Nearly every request is answered at once. So tenacity, which takes as long as all of the rest of a request (0.25 of
    0.5 ms on one core, measured with version 9), comes in only where the first answer was worth another try.
    """
    try:
        return await attempt()
    except Exception as error:
        if not is_worth_another_try(method, error):
            raise
        met: list[Exception] = [error]

    async def once_more() -> T:
        if met:
            raise met.pop()
        return await attempt()

    retrying = AsyncRetrying(
        sleep=clock.sleep,
        retry=retry_if_exception(lambda error: is_worth_another_try(method, error)),
        wait=wait_s,
        stop=stop_after_attempt(RETRIES + 1),
        reraise=True,
    )
    answer: T = await retrying(once_more)
    return answer


def is_worth_another_try(method: str, error: BaseException) -> bool:
    """Whether the server asks for it, or a read lost its connection (RC2).

    A resource version from the server's future is no reason: it has waited for it already, and each try would wait
    again, 40 s in all, before the caller could ask for another version (RF5).
    """
    if is_too_large_resource_version(error):
        return False
    if isinstance(error, ApiError):
        busy = error.status == HTTPStatus.TOO_MANY_REQUESTS or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        return busy and error.retry_after_s is not None
    # A connection that broke does not tell whether a write was done; a read may simply be repeated.
    return method == "GET" and isinstance(error, ApiConnectionLostError)


def wait_s(state: RetryCallState) -> float:
    """Seconds until the next try: those that the server asked for."""
    error = state.outcome.exception() if state.outcome else None
    return (error.retry_after_s or 0.0) if isinstance(error, ApiError) else RECONNECT_S


def refusal(http_status: int, phrase: str, headers: Mapping[str, str], data: bytes) -> ApiError:
    """The error that an answer other than 2xx tells of: a `Status`, or whatever a proxy wrote."""
    retry_after_s = _seconds(headers.get("Retry-After", ""))
    try:
        status = codec.loads(data)
    except ValueError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        error = ApiError.from_status(status, http_status)
        # A wait named in the body only is the caller's to decide on: client-go, too, goes by the header.
        error.retry_after_s = retry_after_s
        return error
    return ApiError(http_status, phrase, data.decode(errors="replace").strip()[:200] or phrase, None, retry_after_s)


def _seconds(header: str) -> float | None:
    """The header's whole seconds; None for its other form, a date, which no API server sends and client-go ignores."""
    return float(header) if header.isascii() and header.isdecimal() else None
