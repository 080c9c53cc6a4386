"""Which runtime serves on which GPUs."""

from __future__ import annotations

from collections.abc import Sequence

from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.model import EngineDevice, EngineName, Runtime


def runtime_for(sku: SKU, runtimes: Sequence[Runtime]) -> Runtime:
    """The first runtime that holds programs for the GPUs of an instance type; the first of all if none does."""
    return next((runtime for runtime in runtimes if _serves(runtime, sku)), runtimes[0])


def of_engine(engine: EngineName, runtimes: Sequence[Runtime]) -> tuple[Runtime, ...]:
    """The runtimes that run models with a program, in their order."""
    return tuple(runtime for runtime in runtimes if runtime.engine is engine)


def _serves(runtime: Runtime, sku: SKU) -> bool:
    accelerator, capability = runtime.accelerator, sku.compute_capability
    if accelerator.resource != sku.resource:
        return False
    return accelerator.device is EngineDevice.CPU or (capability is not None and accelerator.contains(capability))
