"""What a reconciler is asked, and what it answers."""

from __future__ import annotations

from typing import NamedTuple, Protocol, Self

from attrs import frozen

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


@frozen
class Result:
    """How a reconcile that did not fail ended; `why` goes to the log."""

    requeue_after_s: float | None = None
    why: str = ""

    @classmethod
    def done(cls, why: str = "") -> Self:
        """Nothing more to do until something changes."""
        return cls(None, why)

    @classmethod
    def requeue(cls, after_s: float, why: str = "") -> Self:
        """Look again after that many seconds even if nothing changes."""
        return cls(after_s, why)


class TerminalError(Exception):
    """A failure that another try cannot mend: logged and counted, not retried until the object changes."""


class Reconciler(Protocol):
    """Brings the world to what one object asks for."""

    async def reconcile(self, request: Request) -> Result:
        """Look at the object and act. Level-triggered, idempotent; an exception means a retry with backoff."""
        ...
