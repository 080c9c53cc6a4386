"""Says why a process ended, where Kubernetes shows it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final, NoReturn

# Kubernetes shows what is written here as the reason why the container ended.
TERMINATION_LOG: Final = Path("/dev/termination-log")
# How much of it the kubelet keeps (pkg/kubelet/container, MaxContainerTerminationMessageLength).
MAX_BYTES: Final = 4096


def leave(code: int) -> NoReturn:
    """Ends the process with this code and whatever its threads are at: Python itself would wait for those of pools.

    One that hears nothing from a slow peer would hold the pod until the kubelet kills it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def tell(line: str, *, report: str = "") -> None:
    """Writes the line to stderr, as the last one, and to the container's termination message.

    A report for programs follows there as a line of its own, if the kubelet keeps that much.
    """
    line = " ".join(line.splitlines())
    print(line, file=sys.stderr, flush=True)
    try:
        if TERMINATION_LOG.is_file():
            last = report.encode("utf-8", "replace")
            room = MAX_BYTES - len(last) - 1
            words = line.encode("utf-8", "replace")
            text = _cut(words, room) + b"\n" + last if last and room > 0 else _cut(words, MAX_BYTES)
            TERMINATION_LOG.write_bytes(text)
    except OSError:
        # Nobody to tell it to: the line on stderr stands.
        return


def _cut(text: bytes, most: int) -> bytes:
    """The beginning, without half a letter at its end: the message goes on as UTF-8 or not at all."""
    return text[:most].decode("utf-8", "ignore").encode()
