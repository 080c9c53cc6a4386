"""Our informers and queues beside client-go's, kopf's and the official client's: same bytes, same run."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machinery.measures import QUICK, TINY, WAYS, Figures, Size, follow, queues, sync, writes
from benchmarks.machinery.peers import Peer, bench_python, peers
from benchmarks.machinery.table import print_tables

SIZES: Mapping[str, Size] = {"full": Size(), "quick": QUICK, "tiny": TINY}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this benchmark."""
    parser.add_argument(
        "--quick", action="store_const", const="quick", dest="size", help="a fifth of the pods and time"
    )
    parser.add_argument("--tiny", action="store_const", const="tiny", dest="size", help=argparse.SUPPRESS)
    parser.add_argument("--peers", default="", metavar="NAMES", help="only these, separated by commas")
    parser.set_defaults(size="full")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everybody, one process at a time."""
    size = SIZES[options.size]
    wanted = {name for name in options.peers.split(",") if name}
    chosen = [peer for peer in peers() if not wanted or peer.name in wanted]
    with tempfile.TemporaryDirectory() as folder:
        return {
            "size": options.size,
            "syncs": _syncs(chosen, size, Path(folder)),
            "follow": {
                peer.name: _said(f"{peer.name}: storm, flood, churn", follow, peer, size, Path(folder))
                for peer in chosen
            },
            "queue": _queues(chosen, size),
            "writes": _writes(chosen, Path(folder)),
        }


def show(result: dict[str, Any]) -> None:
    """Print the figures as tables."""
    print_tables(result)


def _syncs(chosen: Sequence[Peer], size: Size, folder: Path) -> list[Figures]:
    return [
        {
            "peer": peer.name,
            "pods": pods,
            "way": way,
            **_said(f"{peer.name}: {pods} pods by {way}", sync, peer, pods, way, folder),
        }
        for pods in size.pods
        for way in WAYS
        for peer in chosen
        if way in peer.ways and pods <= peer.largest
    ]


def _queues(chosen: Sequence[Peer], size: Size) -> dict[str, Figures]:
    found: dict[str, Figures] = {}
    for peer in chosen:
        if peer.is_ours:
            measured = _said(f"{peer.name}: queue", queues, bench_python(), peer.environment, size)
            found |= {peer.name: measured["ours"], "client-go": measured["client-go"]}
    return found


def _writes(chosen: Sequence[Peer], folder: Path) -> dict[str, Figures]:
    found: dict[str, Figures] = {}
    for peer in chosen:
        if peer.control:
            found[peer.name] = _said(f"{peer.name}: writes", writes, peer.name, peer.control, peer.environment, folder)
    return found


def _said(what: str, measure: Any, *arguments: Any) -> Any:
    """Measure, after telling on the screen what is being measured: a whole run takes many minutes."""
    print(f"bench: {what}", file=sys.stderr, flush=True)
    return measure(*arguments)
