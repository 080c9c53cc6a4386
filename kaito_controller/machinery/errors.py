"""What can go wrong between us and an API server, and how to tell one failure from another."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Self


class ConfigurationError(Exception):
    """The kubeconfig or the in-cluster credentials cannot be used; the message says which part and what to do."""


class ApiConnectionError(ConnectionError):
    """No answer came: the server was not reached, or went away before it had answered."""


class ApiConnectionRefusedError(ApiConnectionError):
    """Nothing listens there: the server is down, or not up yet."""


class ApiConnectionLostError(ApiConnectionError):
    """The connection broke after the request was sent: whether it was carried out is not known."""


class ApiTimeoutError(ApiConnectionError, TimeoutError):
    """No answer came in time."""


class ApiError(Exception):
    """The API server answered with a failure (a `Status` object, or a bare HTTP error).

    Attributes:
        status: the HTTP status code.
        reason: the machine-readable reason (`NotFound`, `Conflict`...); empty when the server gave none.
        message: the server's words.
        details: `Status.details` as decoded; empty when absent.
        retry_after_s: seconds that the server asks to wait; None when it does not ask.
    """

    def __init__(
        self,
        status: int,
        reason: str = "",
        message: str = "",
        details: Mapping[str, Any] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(status, reason, message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details: dict[str, Any] = dict(details or {})
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.status} {self.reason or 'Unknown'}: {self.message or 'the server gave no message'}"

    @classmethod
    def from_status(cls, status: Mapping[str, Any], http_status: int = 0, retry_after_s: float | None = None) -> Self:
        """The error that a decoded `Status` object tells of; `http_status` fills in where it has no code."""
        details, code = status.get("details"), status.get("code")
        details = details if isinstance(details, dict) else {}
        wanted = details.get("retryAfterSeconds")
        if retry_after_s is None and isinstance(wanted, int | float) and wanted > 0:
            retry_after_s = float(wanted)
        return cls(
            (code if isinstance(code, int) else 0) or http_status or 500,
            str(status.get("reason") or ""),
            str(status.get("message") or ""),
            details,
            retry_after_s,
        )

    @property
    def causes(self) -> list[Mapping[str, Any]]:
        """`details.causes`: for an invalid object one entry per field, with `field`, `reason` and `message`."""
        causes = self.details.get("causes")
        return [cause for cause in causes if isinstance(cause, dict)] if isinstance(causes, list) else []


class InvalidAnswerError(ApiError):
    """The server answered with a success, and with something that cannot be decoded.

    Attributes:
        data: what it sent.
    """

    def __init__(self, status: int, message: str, data: bytes) -> None:
        super().__init__(status, "InvalidAnswer", message)
        self.data = data


def is_not_found(error: BaseException) -> bool:
    """The object, or the kind itself, does not exist."""
    return isinstance(error, ApiError) and error.status == HTTPStatus.NOT_FOUND


def is_already_exists(error: BaseException) -> bool:
    """A create met an object of that name."""
    return isinstance(error, ApiError) and error.status == HTTPStatus.CONFLICT and error.reason == "AlreadyExists"


def is_conflict(error: BaseException) -> bool:
    """The object changed meanwhile, a precondition failed, or another manager owns a field that was applied."""
    return isinstance(error, ApiError) and error.status == HTTPStatus.CONFLICT and error.reason != "AlreadyExists"


def is_gone(error: BaseException) -> bool:
    """The requested resource version or page is no longer kept: list again."""
    return isinstance(error, ApiError) and (error.status == HTTPStatus.GONE or error.reason in {"Expired", "Gone"})


def is_invalid(error: BaseException) -> bool:
    """The object broke its schema, a CEL rule or another validation."""
    return isinstance(error, ApiError) and (
        error.status == HTTPStatus.UNPROCESSABLE_ENTITY or error.reason == "Invalid"
    )


def is_forbidden(error: BaseException) -> bool:
    """RBAC, a quota or an admission policy refused."""
    return isinstance(error, ApiError) and error.status == HTTPStatus.FORBIDDEN


def is_too_many_requests(error: BaseException) -> bool:
    """The server asks to come back later; for an eviction, a disruption budget said no."""
    return isinstance(error, ApiError) and error.status == HTTPStatus.TOO_MANY_REQUESTS


def is_internal(error: BaseException) -> bool:
    """The server failed at its work, such as reading from an etcd without leader."""
    return isinstance(error, ApiError) and error.reason == "InternalError"


def is_too_large_resource_version(error: BaseException) -> bool:
    """The resource version asked for lies in the future of the server that answered (RF6)."""
    if not isinstance(error, ApiError):
        return False
    marker = "Too large resource version"
    if any(cause.get("reason") == "ResourceVersionTooLarge" for cause in error.causes):
        return True
    texts = [error.message, *(str(cause.get("message") or "") for cause in error.causes)]
    return error.reason == "Timeout" and any(marker in text for text in texts)


def is_version_unavailable(error: BaseException) -> bool:
    """The server no longer has the resource version that was asked for, or does not have it yet (RF5)."""
    return is_gone(error) or is_too_large_resource_version(error)


def is_busy_or_down(error: BaseException) -> bool:
    """The same request may do once the server answers again: it lost nothing (RF12)."""
    return isinstance(error, ApiConnectionRefusedError) or is_too_many_requests(error)
