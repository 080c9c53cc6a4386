"""Refusals as the network, a proxy or a hard-pressed API server makes them, and what a client library makes of them."""

from __future__ import annotations

import json

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.errors import ApiConnectionError, ApiConnectionLostError, ApiTimeoutError
from kaito_controller.machinery.rest import retry
from kaito_controller.testing.simulation.faults import Fault

HTML = b"<html><head><title>502 Bad Gateway</title></head><body>no upstream</body></html>"


def status(code: int, reason: str, message: str, **details: object) -> Object:
    """A `Status` object that tells of a failure."""
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
        "details": details,
    }


TOO_LARGE = status(
    504,
    "Timeout",
    "Timeout: Too large resource version: 999999999, current: 1",
    causes=[{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
    retryAfterSeconds=1,
)
EXPIRED = status(410, "Expired", "too old resource version: 1 (2)")

_REFUSALS: dict[Fault, tuple[int, str, dict[str, str], bytes | Object]] = {
    Fault.BUSY: (429, "Too Many Requests", {}, status(429, "TooManyRequests", "later")),
    Fault.BUSY_AFTER: (429, "Too Many Requests", {"Retry-After": "1"}, status(429, "TooManyRequests", "in a second")),
    Fault.UNAVAILABLE: (503, "Service Unavailable", {"Retry-After": "2"}, b"starting"),
    Fault.PROXY: (502, "Bad Gateway", {"Content-Type": "text/html"}, HTML),
    Fault.INTERNAL: (500, "Internal Server Error", {}, status(500, "InternalError", "etcdserver: leader changed")),
    Fault.UNAUTHORIZED: (401, "Unauthorized", {}, status(401, "Unauthorized", "Unauthorized")),
    Fault.EXPIRED: (410, "Gone", {}, EXPIRED),
    Fault.TOO_LARGE: (504, "Gateway Timeout", {"Retry-After": "1"}, TOO_LARGE),
}


def refusal(fault: Fault) -> Exception:
    """What a caller of the transport sees of a fault that kept its request from the server."""
    if fault is Fault.REFUSED:
        return ApiConnectionError("connection refused")
    if fault is Fault.RESET:
        return ApiConnectionLostError("connection reset by peer")
    if fault is Fault.UNANSWERED:
        return ApiTimeoutError("no answer in time")
    code, phrase, headers, body = _REFUSALS[fault]
    return retry.refusal(code, phrase, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


IN_STREAM: dict[Fault, Object] = {
    Fault.ERROR_GONE: EXPIRED,
    Fault.ERROR_INTERNAL: status(500, "InternalError", "an internal error"),
    Fault.ERROR_BUSY: status(429, "TooManyRequests", "later"),
    Fault.ERROR_OTHER: status(500, "StoreReadError", "an object of the store cannot be read"),
}
"""What an ERROR event says."""


def event(kind: str, obj: Object) -> bytes:
    """One line of a watch."""
    return json.dumps({"type": kind, "object": obj}, separators=(",", ":")).encode() + b"\n"
