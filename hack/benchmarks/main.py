"""``hack/bench``: every benchmark by its name; figures as a table on the screen and as JSON in a file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from benchmarks import churn, workspace, workspaces
from benchmarks.machinery import benchmark as machinery_benchmark
from benchmarks.serving import benchmark as serving_benchmark


class Benchmark(Protocol):
    """A module with one benchmark."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options of its own."""
        ...

    def run(self, options: argparse.Namespace) -> dict[str, Any]:
        """Measure, and return the figures as JSON goes."""
        ...

    def show(self, result: dict[str, Any]) -> None:
        """Print the figures as a table."""
        ...


BENCHMARKS: Mapping[str, Benchmark] = {
    "churn": churn,
    "machinery": machinery_benchmark,
    "serving": serving_benchmark,
    "workspace": workspace,
    "workspaces": workspaces,
}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark that the command line names."""
    parser = argparse.ArgumentParser(prog="hack/bench", description=__doc__)
    parser.add_argument("--operator-python", type=Path, required=True, help=argparse.SUPPRESS)
    names = parser.add_subparsers(dest="benchmark", required=True)
    for name, benchmark in BENCHMARKS.items():
        command = names.add_parser(name, description=sys.modules[benchmark.run.__module__].__doc__)
        command.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
        benchmark.add_arguments(command)
    options = parser.parse_args(argv)
    benchmark = BENCHMARKS[options.benchmark]
    result = {"machine": machine(), **benchmark.run(options)}
    print("machine: {cpus} CPUs, Linux {kernel}, Python {python}".format(**result["machine"]))
    benchmark.show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
