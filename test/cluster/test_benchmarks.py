"""The benchmarks of the whole operator, in small: the figures are there and agree with each other. None is judged."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def measured(folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """The JSON of one run, and what it printed."""
    path = folder / "figures.json"
    command = ["hack/bench", *arguments, "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    figures: dict[str, Any] = json.loads(path.read_text())
    assert figures["machine"]["cpus"] >= 1
    return figures, done.stdout


@pytest.mark.slow
def test_many_workspaces_against_the_floor(tmp_path: Path) -> None:
    """All ready, and an operator that starts among finished work writes nothing."""
    figures, printed = measured(tmp_path, "workspaces", "--n", "3")
    assert (figures["n"], figures["restart"]["writes"]) == (3, 0)
    operator, floor_s = figures["operator"], figures["floor"]["wall_s"]
    assert figures["wall_ratio_to_floor"] == pytest.approx(operator["wall_s"] / floor_s, abs=0.1)
    assert 0 < operator["rss_bytes"] <= operator["peak_rss_bytes"]
    assert "of the floor" in printed


@pytest.mark.slow
def test_churn_leaves_nothing_over(tmp_path: Path) -> None:
    """Every kind of disturbance; all are ready afterwards, and of the deleted ones nothing is left."""
    figures, printed = measured(tmp_path, "churn", "--n", "5", "--minutes", "0.1", "--round-seconds", "2.5")
    assert figures["left_over"] == []
    assert figures["changes"] > len(figures["rss_bytes"])
    assert len(figures["rss_bytes"]) == len(figures["open_files"]) == len(figures["at_s"]) > 1
    assert "slope once warm" in printed
