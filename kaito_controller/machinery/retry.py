"""Which answers are worth another request, after how long, and what a refusal says."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from tenacity import RetryCallState

from kaito_controller.machinery import codec
from kaito_controller.machinery.errors import ApiConnectionLostError, ApiError

ATTEMPTS = 10
"""Tries of one call, as client-go makes (RC2)."""
RECONNECT_S = 1.0
"""The wait before a read is sent again whose connection broke."""


def is_worth_another_try(method: str, error: BaseException) -> bool:
    """Whether the server asks for it, or a read lost its connection (RC2)."""
    if isinstance(error, ApiError):
        busy = error.status == HTTPStatus.TOO_MANY_REQUESTS or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        return busy and error.retry_after_s is not None
    # A connection that broke does not tell whether a write was done; a read may simply be repeated.
    return method == "GET" and isinstance(error, ApiConnectionLostError)


def failure(state: RetryCallState) -> BaseException | None:
    """What the last try failed with."""
    return state.outcome.exception() if state.outcome else None


def wait_s(state: RetryCallState) -> float:
    """Seconds until the next try: those that the server asked for."""
    error = failure(state)
    return (error.retry_after_s or 0.0) if isinstance(error, ApiError) else RECONNECT_S


def refusal(http_status: int, phrase: str, headers: Mapping[str, str], data: bytes) -> ApiError:
    """The error that an answer other than 2xx tells of: a `Status`, or whatever a proxy wrote."""
    header = headers.get("Retry-After", "")
    retry_after_s = float(header) if header.isdigit() else None
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
