"""The words that ``kubectl kaito plan`` takes, each checked on its own."""

from __future__ import annotations

import argparse
from math import isfinite
from pathlib import Path
from typing import Final

LARGEST: Final = 10**9
"""No model has so long a context, and nobody so many nodes; arithmetic beyond it only takes time."""
SHOWN: Final = 40
"""Characters of a wrong word that a message repeats."""


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which model, what is wanted of it, and on which machines."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "-f", "--filename", metavar="FILE", help="a Workspace, with its ConfigMap beside it; - for standard input"
    )
    source.add_argument(
        "--model", metavar="MODEL", help="a name of the catalogue, ORG/NAME of a hub, ./FOLDER or oci://REGISTRY/NAME"
    )
    parser.add_argument("--revision", help="branch, tag or commit of a hub's model")
    parser.add_argument("--context", type=_count, metavar="N", help="tokens that a request may have")
    parser.add_argument("--concurrency", type=_count, metavar="N", default=1, help="such requests at a time")
    parser.add_argument("--gpu-memory-utilization", type=_share, metavar="U", help="the engine's share of a GPU")
    parser.add_argument("--nodes", type=_count, metavar="N", help="exactly so many nodes")
    _add_machines(parser)


def _add_machines(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--instance-type", action="append", default=[], metavar="T", help="only this one; repeatable")
    parser.add_argument("--cloud", action="append", default=[], metavar="C", help="only this one; repeatable")
    parser.add_argument(
        "--quota",
        action="append",
        default=[],
        type=_quota,
        metavar="T=N",
        help="nodes of T that may be had; repeatable",
    )
    parser.add_argument("--zone", action="append", default=[], metavar="Z", help="only there; repeatable")
    parser.add_argument(
        "--offered", action="append", default=[], type=_offer, metavar="T=Z,Z", help="zones that have T; repeatable"
    )
    parser.add_argument("--prices", type=Path, metavar="FILE", help="what instance types cost an hour")
    parser.add_argument("--region", action="append", default=[], metavar="R", help="only its prices; repeatable")
    parser.add_argument("--spot", action="store_true", help="prices of spot capacity")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(LARGEST)) or not 0 < int(text) <= LARGEST:
        raise _wrong(f"must be a whole number from 1 to {LARGEST}", text)
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not (isfinite(share) and 0 < share <= 1):
        raise _wrong("must be a number above 0 and at most 1", text)
    return share


def _quota(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not name or not (number.isascii() and number.isdecimal()) or len(number) > len(str(LARGEST)):
        raise _wrong("must be an instance type and a whole number, such as Standard_NC24ads_A100_v4=2", text)
    return name, int(number)


def _offer(text: str) -> tuple[str, tuple[str, ...]]:
    name, mark, zones = text.partition("=")
    if not name or not mark:
        raise _wrong("must be an instance type and its zones, such as Standard_NC24ads_A100_v4=1,3", text)
    return name, tuple(zone for zone in zones.split(",") if zone)


def _wrong(rule: str, text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{rule}; found {text[:SHOWN]!r}")
