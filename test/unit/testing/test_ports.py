"""Ports are judged by whether a server could listen on them."""

from __future__ import annotations

import socket

import pytest

from kaito_controller.testing import ports
from kaito_controller.testing.ports import free_port, is_free


def test_a_free_port_can_be_listened_on() -> None:
    """What is called free is free until somebody takes it."""
    port = free_port()
    assert is_free("127.0.0.1", port)
    with socket.socket() as server:
        server.bind(("127.0.0.1", port))
        server.listen()
        assert not is_free("127.0.0.1", port)


def test_an_address_of_others_is_an_error() -> None:
    """An address that this machine does not have is not reported as a taken port."""
    with pytest.raises(OSError, match="assign"):
        is_free("192.0.2.1", 80)


def test_a_port_was_given_out_twice_before_either_listened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs of tests at a time took each other's, and outgoing connections took both."""
    monkeypatch.setattr(ports, "_candidates", lambda: iter(range(ports.FIRST, ports.FIRST + 200)))
    first = free_port()
    # As another process has it.
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(f"\0kaito-controller-port-{first + 1}")
        second = free_port()
    assert ports.FIRST <= first < first + 1 < second <= ports.LAST


def test_no_port_at_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not waited for."""
    monkeypatch.setattr(ports, "_candidates", lambda: iter(()))
    with pytest.raises(OSError, match="none of"):
        free_port()
