"""Whom else to trust than the system does, where a Secret says so."""

from __future__ import annotations

import ssl
from functools import lru_cache


@lru_cache(maxsize=64)
def trusting(authority: str) -> ssl.SSLContext:
    """What trusts the system's authorities and these, in PEM; one for all who bring the same, so connections are kept.

    Raises:
        ValueError: it holds no certificate.
    """
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cadata=authority)
    except ssl.SSLError as error:
        raise ValueError("no certificate in PEM") from error
    return context
