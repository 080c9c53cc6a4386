"""What the operator's process used and did, from /proc and from its metrics."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

WRITES = ("POST", "PUT", "PATCH", "DELETE")
SAMPLE = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)$", re.MULTILINE)


def operator_pid(state: Path) -> int:
    """The operator's process id, from the record of its start."""
    pid: int = json.loads((state / "processes" / "operator.json").read_text())["pid"]
    return pid


def metrics_port(state: Path) -> int:
    """The port of the operator's metrics, from the record of its start."""
    port: int = json.loads((state / "operator.json").read_text())["metrics_port"]
    return port


def writes(port: int) -> float:
    """How many requests it has sent that may change something."""
    found = _samples(port, "rest_client_requests_total")
    return sum(value for labels, value in found if any(f'method="{verb}"' in labels for verb in WRITES))


def reconciles(port: int) -> float:
    """How many reconciles it has finished."""
    return sum(value for _, value in _samples(port, "controller_runtime_reconcile_total"))


def rss_bytes(pid: int) -> int:
    """Resident memory now."""
    return _status_bytes(pid, "VmRSS:")


def peak_rss_bytes(pid: int) -> int:
    """The most resident memory it has had."""
    return _status_bytes(pid, "VmHWM:")


def open_files(pid: int) -> int:
    """How many files and sockets it holds open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def cpu_s(pid: int) -> float:
    """Seconds of processor since its start."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _samples(port: int, name: str) -> list[tuple[str, float]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as response:
        text = response.read().decode()
    return [(found["labels"] or "", float(found["value"])) for found in SAMPLE.finditer(text) if found["name"] == name]


def _status_bytes(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
