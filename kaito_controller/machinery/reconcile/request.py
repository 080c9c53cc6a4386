"""What a reconciler is asked, and what it answers."""

from __future__ import annotations

from math import isfinite
from typing import NamedTuple, Protocol, Self

from attrs import Attribute, field, frozen

from kaito_controller.kube.metadata import Object, split_key
from kaito_controller.kube.metadata import name as name_of
from kaito_controller.kube.metadata import namespace as namespace_of


class Request(NamedTuple):
    """The object to look at. It says nothing of what happened: a reconciler reads the present state."""

    namespace: str
    name: str

    @property
    def key(self) -> str:
        """`namespace/name`, or `name` of a cluster-scoped object: the key under which stores keep it."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @classmethod
    def of(cls, obj: Object) -> Self:
        """The request to look at this object."""
        return cls(namespace_of(obj), name_of(obj))

    @classmethod
    def from_key(cls, key: str) -> Self:
        """The request whose `key` this is."""
        return cls(*split_key(key))


def _is_time(result: Result, field: Attribute[float | None], value: float | None) -> None:  # noqa: ARG001 - of attrs
    if value is not None and not isfinite(value):
        raise ValueError(f"Result.requeue_after_s: must be a number of seconds or None, is {value!r}")


@frozen
class Result:
    """How a reconcile that did not fail ended; `why` goes to the log.

    Attributes:
        requeue_after_s: look again after that many seconds; None for not before something changes. Nothing to wait for
            (0 or less) means `rate_limited`, so that a reconciler which asks for it each time does not spin.
        why: what is waited for.
        rate_limited: look again after the request's backoff, which grows as if this had been a failure.
        priority: what the request is queued with to look again; None keeps the one it had.
    """

    requeue_after_s: float | None = field(default=None, validator=_is_time)
    why: str = ""
    rate_limited: bool = False
    priority: int | None = None

    @classmethod
    def done(cls, why: str = "") -> Self:
        """Nothing more to do until something changes."""
        return cls(None, why)

    @classmethod
    def requeue(cls, after_s: float, why: str = "", *, priority: int | None = None) -> Self:
        """Look again after that many seconds even if nothing changes."""
        return cls(after_s, why, priority=priority)

    @classmethod
    def again(cls, why: str = "", *, priority: int | None = None) -> Self:
        """Look again soon, and ever later while this goes on; no failure is counted."""
        return cls(None, why, rate_limited=True, priority=priority)


class TerminalError(Exception):
    """A failure that another try cannot mend: logged and counted, not retried until the object changes."""


class Reconciler(Protocol):
    """Brings the world to what one object asks for."""

    async def reconcile(self, request: Request) -> Result:
        """Look at the object and act. Level-triggered, idempotent; an exception means a retry with backoff."""
        ...
