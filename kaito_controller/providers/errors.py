"""What a cloud can answer instead of a machine: the error taxonomy between providers and the NodeClaim controller.

A provider translates its cloud's codes into these few; the controller decides from the type alone what happens to the
claim. Every error carries a reason for the claim's condition (CamelCase, stable), a message that says what was found,
and a remedy that says what the reader can do about it.
"""

from __future__ import annotations


class ProviderError(Exception):
    """Base of everything a provider raises on purpose; any other exception is a defect and is treated as one."""

    reason = "ProviderError"

    def __init__(self, message: str, *, reason: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        if reason:
            self.reason = reason

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class InsufficientCapacity(ProviderError):  # noqa: N818 - the wire name of the condition's reason
    """The request is right and the cloud has no room for it now: sold out, over quota, or at a configured limit."""

    reason = "InsufficientCapacityError"


class NodeClassNotReady(ProviderError):  # noqa: N818 - the wire name of the condition's reason
    """The claim's node class does not exist or is not ready to make nodes."""

    reason = "NodeClassNotReady"


class CreateError(ProviderError):
    """The cloud refused or failed to create this instance; the reason names why (for example UnknownInstanceType)."""

    reason = "LaunchFailed"

    def __init__(self, reason: str, message: str, *, remedy: str = "") -> None:
        super().__init__(message, reason=reason, remedy=remedy)


class InstanceNotFound(ProviderError):  # noqa: N818 - an answer rather than a failure
    """There is no such instance, or none any more."""

    reason = "InstanceNotFound"
