"""A leader that is frozen past its lease: another one takes over, and the old one ends without another write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kaito_controller.testing.apiserver import APIServer
from kaito_controller.testing.eventually import eventually

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
LEASE = "kaito-controller-workspace"
FLAGS = (
    *("--node-provisioner", "byo", "--leader-elect"),
    *("--metrics-bind-address", "0", "--health-probe-bind-address", "0"),
)


@contextmanager
def operator(server: APIServer, namespace: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "kaito_controller", "run", "--kubeconfig", str(server.kubeconfig), *FLAGS]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--leader-election-namespace", namespace],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=output,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def lease(server: APIServer, namespace: str) -> dict[str, object]:
    found = server.get("lease", f"--namespace={namespace}")["items"]
    return next((item["spec"] for item in found if item["metadata"]["name"] == LEASE), {})


def is_leader(log: Path) -> bool:
    return '"leading": true' in log.read_text()


@pytest.mark.scenario("LE3", "LE5", "LE9")
def test_a_frozen_leader_ends_as_soon_as_it_goes_on(apiserver: APIServer, namespace: str, tmp_path: Path) -> None:
    """SIGSTOP for longer than the lease: the second leads; SIGCONT: the first exits with 1, and the lease stays put."""
    first_log, second_log = tmp_path / "first.log", tmp_path / "second.log"
    with operator(apiserver, namespace, first_log) as first, operator(apiserver, namespace, second_log) as second:
        eventually("one of them leads", lambda: is_leader(first_log) or is_leader(second_log))
        leader, log, other = (first, first_log, second_log) if is_leader(first_log) else (second, second_log, first_log)
        leader.send_signal(signal.SIGSTOP)
        eventually("the other one leads", lambda: is_leader(other))
        taken = lease(apiserver, namespace)
        leader.send_signal(signal.SIGCONT)
        assert leader.wait(5) == 1
        assert "leader election lost" in log.read_text()
        now = lease(apiserver, namespace)
        assert (now["holderIdentity"], now["leaseTransitions"]) == (taken["holderIdentity"], 1)
