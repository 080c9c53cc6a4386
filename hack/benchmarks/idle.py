"""What an operator costs that has nothing to do: memory, and writes to the API server."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from pathlib import Path

from attrs import frozen

WRITES = ("POST", "PUT", "PATCH", "DELETE")
SAMPLE = re.compile(r"^rest_client_requests_total\{(?P<labels>[^}]*)\} (?P<value>\S+)$", re.MULTILINE)


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
    before, cpu_before = _writes(metrics_port), _cpu_s(pid)
    time.sleep(seconds)
    return Idle(
        rss_bytes=_rss_bytes(pid),
        cpu_s_per_minute=round((_cpu_s(pid) - cpu_before) * 60 / seconds, 3),
        writes=_writes(metrics_port) - before,
        lease_writes_due=seconds / 2,
        watched_s=seconds,
    )


def operator_pid(state: Path) -> int:
    """The operator's process id, from the record of its start."""
    pid: int = json.loads((state / "processes" / "operator.json").read_text())["pid"]
    return pid


def metrics_port(state: Path) -> int:
    """The port of the operator's metrics, from the record of its start."""
    port: int = json.loads((state / "operator.json").read_text())["metrics_port"]
    return port


def _writes(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        text = response.read().decode()
    found = SAMPLE.finditer(text)
    return sum(float(line["value"]) for line in found if any(f'method="{verb}"' in line["labels"] for verb in WRITES))


def _rss_bytes(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
