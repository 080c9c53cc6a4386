"""`hack/bench machinery` in its tiniest size: the figures are there and agree with each other. None is judged."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PODS = 100


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON of one run with client-go and ours."""
    path = tmp_path_factory.mktemp("bench") / "figures.json"
    command = ["hack/bench", "machinery", "--tiny", "--peers", "client-go,ours", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "one core/s" in done.stdout
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.slow
def test_everybody_synced_every_pod(result: dict[str, Any]) -> None:
    """Both sides, in both ways, hold all pods; each asked once for everything."""
    assert {(each["peer"], each["way"]) for each in result["syncs"]} == {
        (peer, way) for peer in ("client-go", "ours") for way in ("stream", "list")
    }
    for each in result["syncs"]:
        assert each["objects"] == PODS
        assert 0 < each["rss_bytes"] <= each["peak_rss_bytes"]
        assert each["requests"].get("GET", 0) == (1 if each["way"] == "list" else 0)
        assert set(each["requests"]) <= {"GET", "WATCH"}


@pytest.mark.slow
def test_every_event_was_told(result: dict[str, Any]) -> None:
    """After sync, storm and flood a handler was told of each pod and of each change, no more and no less."""
    for figures in result["follow"].values():
        assert figures["storm"]["told"] == PODS + figures["storm"]["events"]
        assert figures["flood"]["told"] == figures["storm"]["told"] + figures["flood"]["events"]
        assert figures["flood"]["cpu_us_per_event"] >= 0
        assert len(figures["memory"]["rss_bytes_by_round"]) > 1
    assert result["follow"]["ours"]["after_decoding_us"] > 0
    assert result["follow"]["ours"]["storm"]["lag_p50_ms"] <= result["follow"]["ours"]["storm"]["lag_p99_ms"]


@pytest.mark.slow
def test_queues_writes_and_the_machine_are_told(result: dict[str, Any]) -> None:
    """Both queues have the same operations, no write of ours was wasted, and the machine is described."""
    assert set(result["queue"]["client-go"]) == set(result["queue"]["ours"])
    assert result["writes"]["ours"]["wasted"] == 0
    assert result["machine"]["cpus"] >= 1
