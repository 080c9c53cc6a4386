"""Whether the first rank of a model on several nodes still serves, as its later ranks ask before they end."""

from __future__ import annotations

import socket
from typing import Final

TIMEOUT_S: Final = 1.0


def is_gone(host: str, port: int) -> bool:
    """True when nobody listens there any more, or the name is gone with its pod. Takes up to TIMEOUT_S."""
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_S):
            return False
    except TimeoutError:
        # Busy or far away: its end would refuse the connection.
        return False
    except OSError:
        return True
