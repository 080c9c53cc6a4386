"""Which URLs a pod is not sent to: addresses of this network, of the pod itself and of a cloud's metadata. Pure.

Only what the URL itself says is judged here, so that nothing is started for it. What a name leads to is judged by the
process that downloads, at each redirect.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

# Names that lead to the machine itself or to a cloud's metadata (KAITO's webhook refuses the same).
_LOCAL_NAMES: Final = ("localhost", "metadata.google.internal", "metadata.google", "instance-data.ec2.internal")
_LOOPBACK: Final = ip_address("127.0.0.1")


def private_host(url: str, allowed: Sequence[str]) -> str:
    """The host of a URL that lies in a private network outside of `allowed` (CIDRs); empty for one that does not."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return url[:100]
    address = _address(host)
    if address is None:
        return ""
    inside = any(address in ip_network(network) for network in allowed)
    return "" if inside or (address.is_global and not address.is_multicast) else host


def _address(host: str) -> IPv4Address | IPv6Address | None:
    if host.endswith(".localhost") or host in _LOCAL_NAMES:
        return _LOOPBACK
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
