"""What an operator costs that has nothing to do: memory, and writes to the API server."""

from __future__ import annotations

import time

from attrs import frozen

from benchmarks import process


@frozen(kw_only=True)
class Idle:
    """Resident memory in bytes, seconds of processor a minute, and writes in the time watched.

    ``lease_writes`` are the renewals that a leader owes: one a retry period of two seconds.
    """

    rss_bytes: int
    cpu_s_per_minute: float
    writes: float
    lease_writes_due: float
    watched_s: float


def watch(pid: int, metrics_port: int, seconds: float) -> Idle:
    """Look at the operator twice, ``seconds`` apart."""
    before, cpu_before = process.writes(metrics_port), process.cpu_s(pid)
    time.sleep(seconds)
    return Idle(
        rss_bytes=process.rss_bytes(pid),
        cpu_s_per_minute=round((process.cpu_s(pid) - cpu_before) * 60 / seconds, 3),
        writes=process.writes(metrics_port) - before,
        lease_writes_due=seconds / 2,
        watched_s=seconds,
    )
