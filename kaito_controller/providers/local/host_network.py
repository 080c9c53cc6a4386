"""The host's side of a cluster's network: one bridge, and routes over it that go when it goes.

No iptables rule and no sysctl of the host is touched: nodes reach each other through the bridge, and the host reaches
Services through one node's kube-proxy, which masquerades what does not come from a pod.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Network
from typing import Any

from kaito_controller.providers.local import addresses, programs
from kaito_controller.providers.local.addresses import AddressPlan, NodeAddresses

_LOCK = "\0kaito-controller/local-network"
_ALIAS_LIMIT = 255


class NetworkProblem(RuntimeError):  # noqa: N818 - named for what it is
    """A network command failed or no address range is free: says which, and what to do."""


def claim(owner: str) -> AddressPlan:
    """Give `owner` a bridge with its address plan, or return the plan of the bridge it already has.

    The bridge itself is the record: its alias names the owner, so it is gone after a restart of the machine, as the
    nodes are. Raises `NetworkProblem` when every range overlaps a route of this machine or belongs to others.
    """
    owner = owner[:_ALIAS_LIMIT]
    with _exclusive():
        links = {link["ifname"]: link.get("ifalias", "") for link in _read("link", "show")}
        for index in range(addresses.CLUSTERS):
            plan = AddressPlan.of_index(index)
            if links.get(plan.bridge) == owner:
                _configure(plan)
                return plan
        routes = _destinations()
        for index in range(addresses.CLUSTERS):
            plan = AddressPlan.of_index(index)
            if links.get(plan.bridge) == "":
                _run("link", "delete", plan.bridge)  # somebody was killed between making it and signing it
            elif plan.bridge in links or any(mine.overlaps(theirs) for mine in plan.networks for theirs in routes):
                continue
            _run("link", "add", plan.bridge, "type", "bridge")
            _run("link", "set", plan.bridge, "alias", owner)
            _configure(plan)
            return plan
    raise NetworkProblem(
        f"no address range is free for a cluster with real nodes: all {addresses.CLUSTERS} in 10.160.0.0/11 are taken "
        "by other clusters or by routes of this machine; take another cluster down"
    )


def release(owner: str) -> None:
    """Remove the bridge of `owner` with its routes and links; nothing happens when it has none."""
    with _exclusive():
        for link in _read("link", "show"):
            if link.get("ifalias", "") == owner[:_ALIAS_LIMIT]:
                for port in _read("link", "show", "master", link["ifname"]):
                    _run("link", "delete", port["ifname"], missing_ok=True)
                _run("link", "delete", link["ifname"], missing_ok=True)


def attach(plan: AddressPlan, node: NodeAddresses, pid: int) -> None:
    """Join the network namespace of process `pid` to the bridge: there the link is `eth0`, with the node's MAC."""
    detach(node)
    peer = ["peer", "name", "eth0", "address", node.mac, "netns", str(pid)]
    _run("link", "add", node.host_link, "type", "veth", *peer)
    _run("link", "set", node.host_link, "master", plan.bridge, "up")


def detach(node: NodeAddresses) -> None:
    """Remove the node's link from the host; its other end goes with it."""
    _run("link", "delete", node.host_link, missing_ok=True)


def route_services(plan: AddressPlan, node: NodeAddresses | None) -> None:
    """Send what the host says to ClusterIPs to `node`, or nowhere."""
    if node is None:
        _run("route", "delete", str(plan.service_cidr), "dev", plan.bridge, missing_ok=True)
        return
    gateway = ["via", str(node.address), "dev", plan.bridge, "src", str(plan.host_address)]
    _run("route", "replace", str(plan.service_cidr), *gateway)


def _configure(plan: AddressPlan) -> None:
    _run("address", "replace", f"{plan.host_address}/{plan.node_cidr.prefixlen}", "dev", plan.bridge)
    _run("link", "set", plan.bridge, "up")
    source = f"dev {plan.bridge} src {plan.host_address}"
    _batch([f"route replace {node.pod_cidr} via {node.address} {source}" for node in plan.nodes()])


def _destinations() -> list[IPv4Network]:
    routes = _read("-4", "route", "show", "table", "all")
    return [IPv4Network(route["dst"]) for route in routes if route["dst"] != "default"]


@contextmanager
def _exclusive() -> Iterator[None]:
    # An abstract socket is a lock that needs no file, belongs to this network namespace and dies with its holder.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
        deadline = time.monotonic() + 30
        while True:
            try:
                lock.bind(_LOCK)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise NetworkProblem(
                        "another process has been changing this machine's cluster network for 30 s: end it, try again"
                    ) from error
                time.sleep(0.05)
        yield


def _read(*arguments: str) -> list[dict[str, Any]]:
    output = _run("-json", *arguments)
    return json.loads(output) if output.strip() else []


def _run(*arguments: str, missing_ok: bool = False) -> str:
    return ip(arguments, missing_ok=missing_ok)


def _batch(lines: Sequence[str]) -> None:
    ip(["-batch", "-"], lines="\n".join(lines) + "\n")


def ip(arguments: Sequence[str], *, lines: str = "", missing_ok: bool = False) -> str:
    """Run iproute2's `ip` and return what it prints; raises `NetworkProblem` with what it said."""
    done = subprocess.run(
        ["ip", *arguments], input=lines, capture_output=True, text=True, check=False, env={"PATH": programs.PATH}
    )
    absent = ("Cannot find device", "No such device", "does not exist", "No such process")
    if done.returncode and not (missing_ok and any(text in done.stderr for text in absent)):
        raise NetworkProblem(f"ip {' '.join(arguments)} failed: {done.stderr.strip() or lines[:200]}")
    return done.stdout
