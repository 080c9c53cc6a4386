"""`hack/bench serving`, in small: the figures are there and agree with each other. None is judged."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_both_servers_and_both_endpoints_are_asked_in_turns(tmp_path: Path) -> None:
    """The part that was chosen, and no other."""
    path = tmp_path / "figures.json"
    options = ("--part", "endpoints", "--pairs", "2", "--count", "8", "--json", str(path))
    done = subprocess.run(["hack/bench", "serving", *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(path.read_text())
    assert figures.keys() == {"machine", "endpoints"}
    for name in ("ours_over_vllm_serve", "chat_over_completions"):
        found = figures["endpoints"][name]
        low, high = found["throughput_ratio_middle_half"]
        assert 0 < low <= found["throughput_ratio"] <= high
        for side in (found["peer"], found["ours"]):
            assert 0 < side["p50_ms"] <= side["p99_ms"]
            assert side["cpu_ms_each"] > 0
    assert "ours / vllm serve" in done.stdout
    assert "bench: endpoints: {" in done.stderr
