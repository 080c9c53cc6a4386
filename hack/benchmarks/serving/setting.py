"""What every part of the benchmark is given."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen


@frozen(kw_only=True)
class Size:
    """How much is asked: pairs of blocks, requests a block, clients at once."""

    pairs: int
    count: int
    clients: int


@frozen(kw_only=True)
class Setting:
    """The interpreter of the inference environment, the taught model, and an empty folder of the part's own."""

    python: Path
    model: Path
    folder: Path
    size: Size
