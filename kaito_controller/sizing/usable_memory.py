"""How much of a GPU the engine may take."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Final

from kaito_controller.catalog.hardware import SKU
from kaito_controller.sizing.flags import EngineFlags

# Upstream's share of a GPU for the engine (pkg/utils, vLLM's own is 0.92).
DEFAULT_UTILIZATION: Final = 0.84
# A process sees a little less than the driver reports, and the driver less than the data sheet says: the least of the
# catalogue's GPUs for which both are known (NVIDIA L4, 22558 MiB of 23034 MiB of 24 GiB).
_SEEN_OF_DRIVER: Final = Fraction(979, 1000)
_SEEN_OF_NOMINAL: Final = Fraction(917, 1000)


def seen_memory(sku: SKU) -> int:
    """Bytes of one GPU, or slice of one, that a process on it sees in all."""
    if sku.partition is not None:
        return int(sku.gpu_memory_bytes * _SEEN_OF_DRIVER)
    if sku.own_memory_bytes is not None:
        return int(sku.own_memory_bytes * _SEEN_OF_NOMINAL)
    if sku.gpu.engine_memory_bytes is not None:
        return sku.gpu.engine_memory_bytes
    if sku.gpu.driver_memory_bytes is not None:
        return int(sku.gpu.driver_memory_bytes * _SEEN_OF_DRIVER)
    return int(sku.gpu.memory_bytes * _SEEN_OF_NOMINAL)


def utilization(sku: SKU, flags: EngineFlags) -> float:
    """The engine's share: as asked, the GPU's own, or the usual one."""
    return flags.gpu_memory_utilization or sku.gpu_memory_utilization or DEFAULT_UTILIZATION


def budget(sku: SKU, share: float) -> int:
    """Bytes that the engine takes of one GPU (vLLM, v1/worker/utils.py, request_memory)."""
    return ceil(seen_memory(sku) * Fraction(str(share)))
