"""The other pods of a model that spans nodes: each holds a part of one model, so all take one revision of it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import frozen

from inference_server import contract
from inference_server.weights.source import Source

_TIMEOUT_S: Final = 2.0


def report_of(url: str) -> Mapping[str, Any]:
    """What an agent tells of its weights.

    Raises OSError, HTTPException, ValueError or RecursionError when it does not.
    """
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", contract.REPORT_PATH)
        found = json.loads(connection.getresponse().read(contract.REPORT_MAX_BYTES + 1))
    finally:
        connection.close()
    weights = found.get("weights") if isinstance(found, dict) else None
    return weights if isinstance(weights, dict) else {}


@frozen(kw_only=True)
class Peers:
    """The agents of all pods of a model, by their URLs in the order of the ranks, and the rank of this one."""

    urls: tuple[str, ...] = ()
    rank: int = 0
    ask: Callable[[str], Mapping[str, Any]] = report_of

    @property
    def decides(self) -> bool:
        """Whether this pod chooses a revision when no other has one: the first does, and the others wait for it."""
        return self.rank == 0 or not self.urls

    def revision(self, wanted: str, source: Source) -> str | None:
        """The commit or digest that another pod has taken for the same URI; None while none has."""
        for rank, url in enumerate(self.urls):
            told = self._told(url) if rank != self.rank else {}
            revision = str(told.get("revision", ""))
            if told.get("source") == wanted and source.pinned(revision).is_pinned:
                return revision
        return None

    def _told(self, url: str) -> Mapping[str, Any]:
        try:
            return self.ask(url)
        except (OSError, ValueError, RecursionError, http.client.HTTPException):
            # A pod that is not there yet, or no more, or something else in its place.
            return {}
