"""Our server beside `vllm serve` at equal settings on the CPU, in turns; `/chat`, adapters and starts.

The taught model has 0.4 M parameters, so an answer is mostly the server's own work: what a layer of Python costs shows
here as it never would on a GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from local_cluster.quickstart import printed_path

from benchmarks.serving import adapters, endpoints, pod, start
from benchmarks.serving.setting import Setting, Size


class Part(Protocol):
    """A module that measures one thing about the server."""

    def measure(self, setting: Setting) -> dict[str, Any]:
        """Measure, and return the figures as JSON goes."""
        ...

    def show(self, figures: dict[str, Any]) -> None:
        """Print the figures as a table."""
        ...


PARTS: Final[Mapping[str, Part]] = {"endpoints": endpoints, "adapters": adapters, "start": start, "pod": pod}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is measured, and how much is asked."""
    parser.add_argument("--part", action="append", choices=PARTS, help="measure this alone; may be repeated")
    parser.add_argument("--pairs", type=int, default=40, metavar="N", help="pairs of blocks (default: %(default)s)")
    parser.add_argument("--count", type=int, default=100, metavar="N", help="requests a block (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=4, metavar="N", help="clients at once (default: %(default)s)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure part after part, and tell what each found as it ends: the whole takes a quarter of an hour."""
    size = Size(pairs=options.pairs, count=options.count, clients=options.clients)
    python, model = printed_path("hack/environment", "inference-cpu"), printed_path("hack/model/build")
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for part in options.part or PARTS:
            folder = Path(name) / part
            folder.mkdir()
            result[part] = PARTS[part].measure(Setting(python=python, model=model, folder=folder, size=size))
            print(f"bench: {part}: {json.dumps(result[part])}", file=sys.stderr, flush=True)
    return result


def show(result: dict[str, Any]) -> None:
    """Print the figures as tables."""
    for part, figures in result.items():
        if part in PARTS:
            PARTS[part].show(figures)
