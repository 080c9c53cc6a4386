"""The other pods of a model that spans nodes: each holds a part of one model, so all take one revision of it."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import frozen

from inference_server import contract
from inference_server.weights.source import Source

_TIMEOUT_S: Final = 2.0
_STANDS: Final = (contract.WEIGHTS_FETCHING, contract.WEIGHTS_READY)


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
class Told:
    """What the other pods say: the revision that one of them has, and whether all that are there have answered."""

    revision: str | None = None
    is_whole: bool = True


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

    def told(self, wanted: str, source: Source) -> Told:
        """The commit or digest that another pod has taken for the same URI and has not failed with."""
        is_whole = True
        for rank, url in enumerate(self.urls):
            found = self._report(url) if rank != self.rank else {}
            if found is None:
                is_whole = False
                continue
            revision, stands = str(found.get("revision", "")), found.get("state") in _STANDS
            if stands and found.get("source") == wanted and source.pinned(revision).is_pinned:
                return Told(revision=revision)
        return Told(is_whole=is_whole)

    def _report(self, url: str) -> Mapping[str, Any] | None:
        """Empty for a pod that is not there; None for one that may be, and did not answer."""
        try:
            return self.ask(url)
        except (socket.gaierror, ConnectionRefusedError):
            return {}
        except OSError:
            return None
        except (ValueError, RecursionError, http.client.HTTPException):
            # Something else in its place.
            return {}
