"""The address plan gives everybody an address of their own."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito_controller.providers.local import addresses
from kaito_controller.providers.local.addresses import AddressPlan

indexes = st.integers(0, addresses.CLUSTERS - 1)
LINK_NAME_LIMIT = 15


def test_no_two_networks_overlap():
    """Clusters stand side by side: no network of any plan touches another."""
    networks = [network for index in range(addresses.CLUSTERS) for network in AddressPlan.of_index(index).networks]
    assert [] == [pair for pair in combinations(networks, 2) if pair[0].overlaps(pair[1])]


@given(indexes)
def test_nodes_share_nothing(index: int):
    """Address, pod network, link and MAC differ from node to node, and lie inside the plan's networks."""
    plan = AddressPlan.of_index(index)
    nodes = list(plan.nodes())
    for part in ("address", "pod_cidr", "host_link", "mac"):
        assert addresses.NODES == len({getattr(node, part) for node in nodes})
    assert plan.host_address not in {node.address for node in nodes}
    assert all(node.address in plan.node_cidr and node.pod_cidr.subnet_of(plan.pod_cidr) for node in nodes)
    assert max(len(node.host_link) for node in nodes) <= LINK_NAME_LIMIT


@given(indexes)
def test_a_plan_survives_its_document(index: int):
    """What cluster.json holds is read back as the same plan."""
    plan = AddressPlan.of_index(index)
    assert plan == AddressPlan.of_document(plan.document())


def test_well_known_addresses_are_services():
    """The API's and the DNS server's ClusterIPs are in the range of Services, and the host is on the bridge."""
    plan = AddressPlan.of_index(0)
    assert ("10.160.0.1", "10.160.0.10", "10.160.64.1") == (
        str(plan.service_address), str(plan.dns_address), str(plan.host_address),
    )  # fmt: skip


@pytest.mark.parametrize("index", [-1, addresses.CLUSTERS])
def test_plans_end(index: int):
    """An index without addresses is refused with the range."""
    with pytest.raises(ValueError, match=r"0\.\.31"):
        AddressPlan.of_index(index)


@pytest.mark.parametrize("number", [0, addresses.NODES + 1])
def test_nodes_end(number: int):
    """A node number without addresses is refused with the range."""
    with pytest.raises(ValueError, match=r"1\.\.100"):
        AddressPlan.of_index(3).node(number)
