"""TCP ports of this machine."""

from __future__ import annotations

import os
import secrets
import socket
from collections import deque
from collections.abc import Iterator
from typing import Final

# Below those that Linux gives to outgoing connections (ip_local_port_range) and Kubernetes to NodePorts.
FIRST: Final = 20_000
LAST: Final = 29_999
_TRIES: Final = 500
# Whoever has asked listens long before so many others have.
_HELD: Final = 64
_held: deque[int] = deque()


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on, and that no process of ours gives out while this one is about to use it.

    Raises OSError when this machine does not have the address, or no port is free.
    """
    for port in _candidates():
        mark = _marked(port)
        if mark is None:
            continue
        if is_free(address, port):
            # As a bare file descriptor, which the end of the process closes without a word.
            _held.append(mark.detach())
            if len(_held) > _HELD:
                os.close(_held.popleft())
            return port
        mark.close()
    raise OSError(f"{address}: none of {_TRIES} ports from {FIRST} to {LAST} is free")


def _candidates() -> Iterator[int]:
    return (FIRST + secrets.randbelow(LAST - FIRST + 1) for _ in range(_TRIES))


def _marked(port: int) -> socket.socket | None:
    """A mark that all processes see and that goes with this one; None when another has set it."""
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0kaito-controller-port-{port}")
    except OSError:
        mark.close()
        return None
    return mark


def is_free(address: str, port: int) -> bool:
    """Return whether a server could listen on a port. Raises OSError when this machine does not have the address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.strerror and "in use" in error.strerror:
                return False
            raise
        return True
