"""A session that follows no redirect.

What answers may be no API server but a pod behind its proxy. A redirect that such a one names, relative to the API
server, would be followed with the operator's own credentials, to whatever the pod likes.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen


@frozen
class Straight:
    """An aiohttp session for which a redirect is an answer like another; everything else is the session's own."""

    session: Any

    def __getattr__(self, name: str) -> Any:
        """What the session has."""
        return getattr(self.session, name)

    def request(self, **arguments: Any) -> Any:
        """One request."""
        return self.session.request(**arguments, allow_redirects=False)
