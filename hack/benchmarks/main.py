"""``hack/bench``: every benchmark by its name; figures as a table on the screen and as JSON in a file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import attrs
from local_cluster.kubectl import Kubectl
from local_cluster.operator_process import Operator

from benchmarks import idle, workspace
from kaito_controller.testing.apiserver import serving

RUNS = 5
IDLE_S = 60.0
COMPONENTS = ("kube-controller-manager", "kube-scheduler", "kwok")


def bench_workspace(operator_python: Path) -> dict[str, Any]:
    """Five Workspaces one after the other, then a minute of quiet."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), components=COMPONENTS) as server:
        kubectl = Kubectl(binary=server.kubectl_program, kubeconfig=server.kubeconfig)
        operator = Operator(
            state=Path(folder),
            kubectl=kubectl,
            python=operator_python,
            arguments=("--controllers", "workspace,nodeclaim", "--provider", "kwok"),
        )
        operator.ensure()
        runs = [workspace.measure(kubectl, f"bench-{number}") for number in range(RUNS)]
        ports = json.loads((Path(folder) / "operator.json").read_text())
        quiet = idle.watch(idle.operator_pid(Path(folder)), ports["metrics_port"], IDLE_S)
    return {
        "machine": machine(),
        "runs": [attrs.asdict(run) for run in runs],
        "median": {
            **{name: round(statistics.median(getattr(run, name) for run in runs), 3) for name in FIGURES},
            "ratio_to_floor": round(statistics.median(run.ready_s / run.floor_s for run in runs), 2),
        },
        "idle": attrs.asdict(quiet),
    }


FIGURES = ("apply_to_claim_s", "operator_s", "ready_s", "floor_s")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}


def show(result: dict[str, Any]) -> None:
    """Print the figures as a table."""
    print("machine: {cpus} CPUs, Linux {kernel}, Python {python}".format(**result["machine"]))
    for name, value in result["median"].items():
        print(f"{name:<20} {value:>10}  (median of {len(result['runs'])})")
    quiet = result["idle"]
    print(f"{'idle rss':<20} {quiet['rss_bytes'] / 2**20:>10.1f}  MiB")
    print(f"{'idle cpu':<20} {quiet['cpu_s_per_minute']:>10}  s a minute")
    due = quiet["lease_writes_due"]
    print(
        f"{'idle writes':<20} {quiet['writes']:>10g}  in {quiet['watched_s']:.0f} s, of which the Lease is due {due:g}"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark that the command line names."""
    parser = argparse.ArgumentParser(prog="hack/bench", description=__doc__)
    parser.add_argument("benchmark", choices=("workspace",))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    parser.add_argument("--operator-python", type=Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    result = bench_workspace(options.operator_python)
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
