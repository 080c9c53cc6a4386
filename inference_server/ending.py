"""Says why a process ended, where Kubernetes shows it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

# Kubernetes shows what is written here as the reason why the container ended.
TERMINATION_LOG: Final = Path("/dev/termination-log")
# How much of it the kubelet keeps (pkg/kubelet/container, MaxContainerTerminationMessageLength).
MAX_BYTES: Final = 4096


def tell(line: str, *, report: str = "") -> None:
    """Writes the line to stderr, as the last one, and to the container's termination message.

    A report for programs follows there as a line of its own, if the kubelet keeps that much.
    """
    print(line, file=sys.stderr, flush=True)
    try:
        if TERMINATION_LOG.is_file():
            last = report.encode("utf-8", "replace")
            room = MAX_BYTES - len(last) - 1
            words = line.encode("utf-8", "replace")
            text = words[:room] + b"\n" + last if last and room > 0 else words[:MAX_BYTES]
            TERMINATION_LOG.write_bytes(text)
    except OSError:
        # Nobody to tell it to: the line on stderr stands.
        return
