"""The address plan of one local cluster: who has which addresses, decided by small numbers and nothing else.

Every cluster with real nodes takes a /16 of the private range, by its index; every node takes, by its number, one
address, one /24 for its pods, one MAC and one host link. So nodes need not learn their peers' routes: they are known
beforehand, and a node made again under the same number is reached through the same entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from attrs import frozen

CLUSTERS = 32
"""How many clusters with real nodes fit beside each other on one machine."""

NODES = 100
"""How many nodes a plan has room for."""

_FIRST_OCTET = 160

ALL_PLANS = "10.160.0.0/11"
"""Holds all plans: away from the 10.0, 10.42, 10.96 and 10.244 that other tools take by default."""


@frozen(kw_only=True)
class NodeAddresses:
    """What node `number` of a cluster is reached by; `number` starts at 1."""

    number: int
    address: IPv4Address
    pod_cidr: IPv4Network
    host_link: str
    mac: str


@frozen(kw_only=True)
class AddressPlan:
    """The networks of a cluster and the host bridge that joins its nodes."""

    bridge: str
    service_cidr: IPv4Network
    node_cidr: IPv4Network
    pod_cidr: IPv4Network

    @classmethod
    def of_index(cls, index: int) -> AddressPlan:
        """Return plan `index`; raises ValueError outside 0..31."""
        if not 0 <= index < CLUSTERS:
            raise ValueError(f"address plan: index must be 0..{CLUSTERS - 1}, found {index}")
        block = f"10.{_FIRST_OCTET + index}"
        return cls(
            bridge=f"kaito{index}",
            service_cidr=IPv4Network(f"{block}.0.0/18"),
            node_cidr=IPv4Network(f"{block}.64.0/24"),
            pod_cidr=IPv4Network(f"{block}.128.0/17"),
        )

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> AddressPlan:
        """Read the plan from a cluster's document (keys bridge, service_cidr, node_cidr, pod_cidr)."""
        return cls(
            bridge=document["bridge"],
            service_cidr=IPv4Network(document["service_cidr"]),
            node_cidr=IPv4Network(document["node_cidr"]),
            pod_cidr=IPv4Network(document["pod_cidr"]),
        )

    def document(self) -> dict[str, str]:
        """Return what `of_document` reads."""
        return {
            "bridge": self.bridge,
            "service_cidr": str(self.service_cidr),
            "node_cidr": str(self.node_cidr),
            "pod_cidr": str(self.pod_cidr),
        }

    @property
    def host_address(self) -> IPv4Address:
        """The host's own address on the bridge: where nodes and pods reach the API server."""
        return self.node_cidr[1]

    @property
    def service_address(self) -> IPv4Address:
        """The ClusterIP of the Service `kubernetes`: the first of the range, as the API server takes it."""
        return self.service_cidr[1]

    @property
    def dns_address(self) -> IPv4Address:
        """The ClusterIP that the cluster's DNS Service is given."""
        return self.service_cidr[10]

    @property
    def networks(self) -> tuple[IPv4Network, ...]:
        """Every network of the plan, to be compared with the routes that the machine already has."""
        return (self.service_cidr, self.node_cidr, self.pod_cidr)

    def node(self, number: int) -> NodeAddresses:
        """Return the addresses of node `number`; raises ValueError outside 1..100."""
        if not 1 <= number <= NODES:
            raise ValueError(f"address plan of {self.bridge}: node number must be 1..{NODES}, found {number}")
        address = self.node_cidr[number + 1]
        block = 1 << (32 - 24)
        return NodeAddresses(
            number=number,
            address=address,
            pod_cidr=IPv4Network((int(self.pod_cidr.network_address) + number * block, 24)),
            host_link=f"{self.bridge}n{number}",
            mac="02:6b:" + ":".join(f"{byte:02x}" for byte in address.packed),
        )

    def nodes(self) -> Iterator[NodeAddresses]:
        """Yield the addresses of every node there could be."""
        return (self.node(number) for number in range(1, NODES + 1))
