"""Why a model cannot be served as asked, as values."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen


class Misfit(StrEnum):
    """Why a preset cannot be served as asked."""

    GPU_MEMORY = "InsufficientGPUMemory"
    CONTEXT = "ContextTooLong"
    ACCELERATOR = "UnsupportedAccelerator"
    NODE_COUNT = "UnsupportedNodeCount"
    WEIGHTS = "WeightsUnavailable"
    PRECISION = "UnsupportedPrecision"
    PARALLELISM = "UnsupportedParallelism"
    NUMBERS = "NumbersMissing"
    UNAVAILABLE = "Unavailable"
    ENGINE = "UnsupportedByEngine"


@frozen(kw_only=True)
class DoesNotFit:
    """Why there is no plan. The sizes are bytes of one GPU; 0 where memory is not the reason.

    `enough_nodes` is the least number of nodes on which the preset would fit; None where no number is enough.
    """

    reason: Misfit
    message: str
    needed_bytes: int = 0
    available_bytes: int = 0
    enough_nodes: int | None = None
