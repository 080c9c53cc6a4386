"""Which addresses may be connected to, so that nobody's URL makes a pod ask a service that only pods can reach."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from attrs import frozen

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

METADATA: Final = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # most clouds
        "fd00:ec2::254",  # EC2 by IPv6
        "fe80::a9fe:a9fe",  # OpenStack by IPv6
        "169.254.170.2",  # credentials of ECS tasks
        "169.254.170.23",  # EKS Pod Identity
        "fd00:ec2::23",  # the same by IPv6
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure's WireServer; it counts as public
        "192.0.0.192",  # Oracle Cloud, classic
    )
)
"""Services that hand credentials of a machine or a pod to whoever asks from it."""

METADATA_NAMES: Final = frozenset(
    {"metadata", "metadata.google.internal", "metadata.google", "instance-data.ec2.internal"}
)

_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052
_SITE_LOCAL: Final = IPv6Network("fec0::/10")  # RFC 3879 took it back; Python calls it public
_COMPATIBLE: Final = IPv6Network("::/96")  # RFC 4291 2.5.5.1, an IPv4 address in an IPv6 one


@frozen(kw_only=True)
class Policy:
    """What addresses are good for.

    Attributes:
        allowed: networks that may be reached although they are not public.
        private: whether private networks may be reached, too (RFC 1918, unique local IPv6, carrier-grade NAT, 240/4).
        loopback: whether this very pod may be reached.
    """

    allowed: Sequence[Network] = ()
    private: bool = False
    loopback: bool = False

    def refusal(self, address: Address) -> str:
        """Why the address may not be connected to; empty when it may. Metadata services never may."""
        inner = [_plain(address), *_embedded(address)]
        if any(one in METADATA for one in inner):
            return "it is a metadata service of a cloud"
        if any(_contains(network, one) for network in self.allowed for one in inner):
            return ""
        return next((reason for one in inner if (reason := self._refused(one))), "")

    def _refused(self, address: Address) -> str:
        tests = (
            (address.is_unspecified, "it is no machine's", False),
            (address.is_loopback, "it is this machine itself", self.loopback),
            (address.is_link_local, "it is link-local", False),
            (address.is_multicast, "it is a multicast group", False),
            (isinstance(address, IPv6Address) and address in _SITE_LOCAL, "it is private", self.private),
            (address.is_global, "", True),
            (address.is_reserved, "it is reserved", self.private),
        )
        reason, fine = next(((text, fine) for holds, text, fine in tests if holds), ("it is private", self.private))
        return "" if fine else reason


PUBLIC: Final = Policy()


def parse_network(text: str) -> Network:
    """A CIDR, or one address; raises ValueError."""
    return ip_network(text, strict=False)


def _plain(address: Address) -> Address:
    """The address without its zone."""
    return ip_address(address.packed)


def _embedded(address: Address) -> list[Address]:
    """The IPv4 addresses that routers or translators may take an IPv6 address for."""
    if not isinstance(address, IPv6Address):
        return []
    found: list[Address | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    plain = IPv6Address(address.packed)
    if plain in _NAT64 or (plain in _COMPATIBLE and int(plain) > 1):
        found.append(IPv4Address(int(plain) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


def _contains(network: Network, address: Address) -> bool:
    return network.version == address.version and address in network
