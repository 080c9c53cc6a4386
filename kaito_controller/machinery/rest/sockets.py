"""What is asked of the sockets of streams: to notice a peer that vanished, and to end without ceremony."""

from __future__ import annotations

import socket
from typing import Any

KEEPALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 9}
"""Seconds, seconds and probes until the kernel gives a dead peer up (RF22)."""


def keep_alive(response: Any) -> None:
    """Let the kernel find out about a peer that vanished without a word."""
    connection = response.connection
    sock = connection.transport.get_extra_info("socket") if connection and connection.transport else None
    if sock is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def hang_up(response: Any) -> None:
    """End a stream now: a TLS goodbye would be sent later, by a loop that may be closed by then."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()
