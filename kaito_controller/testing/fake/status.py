"""Refusals, as the `Status` objects that a kube-apiserver sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from kaito_controller.kube.metadata import Object


class RefusalError(Exception):
    """The server says no, with a `Status` object or, where no API answers, with plain text."""

    def __init__(self, code: int, body: Object | str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code, body)
        self.code = code
        self.body = body
        self.headers = dict(headers or {})

    @property
    def status(self) -> Object:
        """The `Status` object."""
        return self.body if isinstance(self.body, dict) else failure(self.code, "", str(self.body))


@frozen(kw_only=True)
class Cause:
    """What is wrong with one field."""

    field: str
    reason: str
    message: str

    @property
    def body(self) -> Object:
        """The cause as part of a `Status`."""
        return {"reason": self.reason, "message": self.message, "field": self.field}


def failure(code: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> Object:
    """A `Status` object that tells of a failure."""
    status: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    if reason:
        status["reason"] = reason
    if details is not None:
        status["details"] = {key: value for key, value in details.items() if value}
    return status | {"code": code}


def success(details: Mapping[str, Any] | None) -> Object:
    """A `Status` object that tells of a success."""
    status: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details is None:
        return status | {"code": 201}
    return status | {"details": {key: value for key, value in details.items() if value}}


def not_found(group: str, plural: str, name: str) -> RefusalError:
    """404: there is no such object."""
    message = f'{qualified(group, plural)} "{name}" not found'
    return _refusal(404, "NotFound", message, _who(group, plural, name))


def no_such_resource() -> RefusalError:
    """404: the group is there or not, and does not serve this kind."""
    return _refusal(404, "NotFound", "the server could not find the requested resource", {})


def no_such_page() -> RefusalError:
    """404 outside of any API."""
    return RefusalError(404, "404 page not found\n")


def already_exists(group: str, plural: str, name: str) -> RefusalError:
    """409: the name is taken."""
    return _refusal(
        409, "AlreadyExists", f'{qualified(group, plural)} "{name}" already exists', _who(group, plural, name)
    )


def conflict(group: str, plural: str, name: str, why: str) -> RefusalError:
    """409: the object is not, or no longer, the one that was meant."""
    message = f'Operation cannot be fulfilled on {qualified(group, plural)} "{name}": {why}'
    return _refusal(409, "Conflict", message, _who(group, plural, name))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def apply_conflict(causes: Sequence[Cause]) -> RefusalError:
    """409: other managers own fields that were applied with other values."""
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}"
    else:
        groups = dict.fromkeys(cause.message for cause in causes)
        told = [
            group.replace("conflict", "conflicts", 1)
            + ":\n"
            + "\n".join(f"- {cause.field}" for cause in causes if cause.message == group)
            for group in groups
        ]
        message = f"Apply failed with {len(causes)} conflicts: " + "\n".join(told)
    return _refusal(409, "Conflict", message, {"causes": [cause.body for cause in causes]})


def invalid(group: str, kind: str, name: str, causes: Sequence[Cause]) -> RefusalError:
    """422: the object breaks its rules."""
    words = [f"{cause.field}: {cause.message}" for cause in causes]
    told = words[0] if len(words) == 1 else "[" + ", ".join(words) + "]"
    message = f'{qualified(group, kind)} "{name}" is invalid: {told}'
    details = {"name": name, "group": group, "kind": kind, "causes": [cause.body for cause in causes]}
    return _refusal(422, "Invalid", message, details)


def unexpected(message: str) -> RefusalError:
    """500 without a reason: what a kube-apiserver makes of an error that nobody put into words."""
    return _refusal(500, "", message, None)


def unprocessable() -> RefusalError:
    """422: a JSON patch that does not fit the object."""
    return _refusal(422, "Invalid", "the server rejected our request due to an error in our request", {})


def bad_request(message: str) -> RefusalError:
    """400: the request makes no sense."""
    return _refusal(400, "BadRequest", message, None)


def unauthorized() -> RefusalError:
    """401: nobody known."""
    return _refusal(401, "Unauthorized", "Unauthorized", None)


def forbidden(group: str, plural: str, name: str, why: str) -> RefusalError:
    """403: known, and not allowed."""
    told = f'{qualified(group, plural)} "{name}" is forbidden: {why}'
    return _refusal(403, "Forbidden", told, _who(group, plural, name))


def terminating(group: str, plural: str, name: str, namespace: str) -> RefusalError:
    """403: nothing new in a namespace that goes away."""
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    message = f'{qualified(group, plural)} "{name}" is forbidden: {why}'
    return _refusal(403, "Forbidden", message, {**_who(group, plural, name), "causes": [cause]})


def expired(message: str, *, continue_token: str = "") -> RefusalError:
    """410: the version or the page is no longer kept."""
    status = failure(410, "Expired", message)
    if continue_token:
        status["metadata"] = {"continue": continue_token}
    return RefusalError(410, status)


def too_old(version: int, oldest: int) -> RefusalError:
    """410: a watch from before the history."""
    return expired(f"too old resource version: {version} ({oldest})")


def too_large(version: int, current: int) -> RefusalError:
    """504: a version of the future, asked for with the wish to come back in a second (RF6)."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    message = f"Timeout: Too large resource version: {version}, current: {current}"
    details = {"causes": [cause], "retryAfterSeconds": 1}
    return _refusal(504, "Timeout", message, details, {"Retry-After": "1"})


def method_not_allowed() -> RefusalError:
    """405: the path is there, and not for this verb."""
    message = "the server does not allow this method on the requested resource"
    return _refusal(405, "MethodNotAllowed", message, {})


def not_acceptable(accepted: Sequence[str]) -> RefusalError:
    """406: no representation that the client would take."""
    message = f"only the following media types are accepted: {', '.join(accepted)}"
    return _refusal(406, "NotAcceptable", message, None)


def unsupported_media_type(accepted: Sequence[str]) -> RefusalError:
    """415: a body in a form that nobody here reads."""
    known = ", ".join(accepted)
    message = f"the body of the request was in an unknown format - accepted media types include: {known}"
    return _refusal(415, "UnsupportedMediaType", message, None)


def budget(why: str, retry_after_s: int) -> RefusalError:
    """429: a disruption budget does not allow an eviction, now or at all."""
    headers = {"Retry-After": str(retry_after_s)} if retry_after_s else {}
    cause = {"reason": "DisruptionBudget", "message": why}
    details = {"causes": [cause], "retryAfterSeconds": retry_after_s}
    message = "Cannot evict pod as it would violate the pod's disruption budget."
    return _refusal(429, "TooManyRequests", message, details, headers)


def several_budgets() -> RefusalError:
    """500: an eviction asks one disruption budget, and there are more."""
    return unexpected(
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    )


def qualified(group: str, name: str) -> str:
    """`pods`, or `leases.coordination.k8s.io`."""
    return f"{name}.{group}" if group else name


def _who(group: str, plural: str, name: str) -> Object:
    return {"name": name, "group": group, "kind": plural}


def _refusal(
    code: int,
    reason: str,
    message: str,
    details: Mapping[str, Any] | None,
    headers: Mapping[str, str] | None = None,
) -> RefusalError:
    return RefusalError(code, failure(code, reason, message, details), headers)
