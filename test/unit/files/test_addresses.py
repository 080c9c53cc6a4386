"""Addresses that are nobody's business are told apart, however they are written."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.files.addresses import PUBLIC, Policy, parse_network

NOT_PUBLIC = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.1.1",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1",
    "::", "::1", "fe80::1", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::a00:1", "64:ff9b::7f00:1", "2002:7f00:1::",
    "2002:a00:1::", "2001:0:7f00:1::", "fe80::1%eth0",
]  # fmt: skip
METADATA = ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "::ffff:169.254.169.254"]
PUBLIC_ONES = ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808"]


@pytest.mark.parametrize("text", [*NOT_PUBLIC, *METADATA])
def test_an_address_that_is_not_public_is_refused(text):
    assert PUBLIC.refusal(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC_ONES)
def test_a_public_address_is_fine(text):
    assert PUBLIC.refusal(ip_address(text)) == ""


@pytest.mark.parametrize("text", METADATA)
def test_metadata_services_are_refused_whatever_is_allowed(text):
    everything = Policy(allowed=(parse_network("0.0.0.0/0"), parse_network("::/0")), private=True, loopback=True)
    assert "metadata" in everything.refusal(ip_address(text))


@pytest.mark.parametrize("text", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203"])
def test_what_is_in_an_allowed_network_is_fine(text):
    assert Policy(allowed=(parse_network("10.1.0.0/16"),)).refusal(ip_address(text)) == ""
    assert Policy(allowed=(parse_network("10.2.0.0/16"),)).refusal(ip_address(text))


def test_private_networks_may_be_let_through_without_the_machine_itself():
    policy = Policy(private=True)
    assert [policy.refusal(ip_address(text)) for text in ("10.0.0.1", "fd12::1", "100.64.0.1")] == ["", "", ""]
    assert all(policy.refusal(ip_address(text)) for text in ("127.0.0.1", "::1", "169.254.1.1", "224.0.0.1", "0.0.0.0"))
    assert Policy(loopback=True).refusal(ip_address("127.0.0.1")) == ""
    assert Policy(loopback=True).refusal(ip_address("10.0.0.1"))


@given(st.ip_addresses(v=4))
def test_an_address_cannot_hide_in_one_of_another_kind(address: IPv4Address):
    number = int(address)
    disguises = (
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address((0x64FF9B << 96) | number),
        IPv6Address((0x2002 << 112) | (number << 80)),
    )
    if PUBLIC.refusal(address):
        assert all(PUBLIC.refusal(one) for one in disguises)
    else:
        assert PUBLIC.refusal(disguises[0]) == PUBLIC.refusal(disguises[1]) == ""
