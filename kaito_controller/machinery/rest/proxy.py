"""Which proxy the environment names for an API server."""

from __future__ import annotations

import urllib.request
from urllib.parse import urlsplit


def proxy_of_environment(url: str) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name for a URL; None for a direct connection."""
    parts = urlsplit(url)
    proxy: str | None = urllib.request.getproxies_environment().get(parts.scheme)
    if not proxy or urllib.request.proxy_bypass_environment(parts.netloc):  # type: ignore[attr-defined]
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
