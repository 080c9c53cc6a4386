"""The memory ledger: what one GPU must hold, entry by entry, in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen

GIB: Final = 1024**3
MIB: Final = 1024**2


@frozen(kw_only=True)
class LedgerEntry:
    """One thing that takes memory of a GPU: how many bytes, by which formula, after which source."""

    entry: str
    bytes: int
    formula: str
    source: str


def total(entries: Sequence[LedgerEntry]) -> int:
    """The sum of a ledger, in bytes."""
    return sum(entry.bytes for entry in entries)
