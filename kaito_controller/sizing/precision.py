"""The precision a model is served in."""

from __future__ import annotations

from typing import Final

from kaito_controller.catalog.hardware import SKU, ComputeCapability
from kaito_controller.catalog.model import EngineDevice, Preset, Runtime

# Ampere is the first generation that computes in bfloat16 (NVIDIA, CUDA C++ programming guide).
BFLOAT16_CAPABILITY: Final = ComputeCapability(major=8, minor=0)


def serving_dtype(preset: Preset, sku: SKU, runtime: Runtime) -> str:
    """The checkpoint's own precision, or float16 for bfloat16 on a GPU older than compute capability 8.0.

    A CPU engine keeps the checkpoint's precision: it computes in any.
    """
    if runtime.accelerator.device is EngineDevice.CPU or preset.dtype != "bfloat16":
        return preset.dtype
    capability = sku.compute_capability
    return "float16" if capability is not None and capability < BFLOAT16_CAPABILITY else preset.dtype
