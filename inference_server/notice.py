"""A line in the pod's log from our own programs: engines and libraries configure logging for themselves alone."""

from __future__ import annotations

import sys
from typing import Final

PREFIX: Final = "inference_server: "


def tell(text: str) -> None:
    """Writes the line to stderr at once."""
    print(f"{PREFIX}{text}", file=sys.stderr, flush=True)
