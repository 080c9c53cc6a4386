"""What goes into the fake API server and what comes out, whichever skin carries it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from kaito_controller.kube.metadata import Object

if TYPE_CHECKING:
    from kaito_controller.testing.fake.watch import Watch

JSON = "application/json"
ADMIN = "kubernetes-admin"


@frozen(kw_only=True)
class Request:
    """One request as the server sees it; `at` is when it came, in seconds of the clock's `monotonic`."""

    method: str
    path: str
    query: Mapping[str, str] = field(factory=dict)
    body: Any = None
    content_type: str = JSON
    accept: str = JSON
    user_agent: str = "unknown"
    token: str = ""
    at: float = 0.0

    @property
    def is_watch(self) -> bool:
        """Whether it asks for a stream of events."""
        return self.query.get("watch") in {"true", "1"}

    @property
    def dry_run(self) -> bool:
        """Whether the write shall be checked but not stored."""
        return self.query.get("dryRun") == "All"

    @property
    def manager(self) -> str:
        """The field manager: the one named, else the program of the User-Agent."""
        return self.query.get("fieldManager") or self.user_agent.partition("/")[0]


@frozen(kw_only=True)
class Response:
    """One answer: a decoded object, plain text, or a stream of events."""

    status: int = 200
    body: Object | str = field(factory=dict)
    headers: Mapping[str, str] = field(factory=dict)
    stream: Watch | None = None
