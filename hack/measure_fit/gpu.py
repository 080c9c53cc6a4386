"""The GPU that is measured: as the driver names it, with what the catalogue knows of that kind."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Any, Final

from attrs import evolve, frozen

from kaito_controller.catalog.hardware import GPU, SKU
from kaito_controller.catalog.loader import Catalog
from kaito_controller.sizing.node_sku import (
    CAPABILITY_LABELS,
    COUNT_LABEL,
    MEMORY_LABEL,
    PRODUCT_LABEL,
    UnknownHardware,
    node_sku,
)
from measure_fit.problem import MeasureProblem

_FIELDS: Final = ("name", "memory.total", "compute_cap", "mig.mode.current", "driver_version")
_LIMIT_S: Final = 60
_ELSE: Final = "name the GPU with --gpu, or try the tool itself out with --device cpu"


@frozen(kw_only=True)
class Device:
    """One GPU in nvidia-smi's words; `memory` is MiB."""

    name: str
    memory: str
    capability: str
    mig: str
    driver: str


@frozen(kw_only=True)
class Hardware:
    """What is planned for, and the driver's version where it was asked."""

    sku: SKU
    driver: str | None = None

    def summary(self) -> dict[str, Any]:
        """What a data line says of it."""
        gpu, capability = self.sku.gpu, self.sku.compute_capability
        return {
            "name": gpu.model,
            "driverMemoryBytes": gpu.driver_memory_bytes,
            "driver": self.driver,
            "computeCapability": str(capability) if capability is not None else None,
        }


def found_gpus(catalog: Catalog, tensor: int) -> Hardware:
    """The GPUs of this machine, those of CUDA_VISIBLE_DEVICES where it is set.

    Raises:
        MeasureProblem: there are none, too few, several kinds, or slices of one.
    """
    return hardware_of(devices_of(_listed()), catalog, tensor)


def named_gpu(name: str, catalog: Catalog, tensor: int) -> Hardware:
    """A kind of GPU by the catalogue's name or the driver's.

    Raises:
        UnknownGPU: there is no such kind.
    """
    gpu = catalog.gpu(name)
    return Hardware(sku=SKU(name=gpu.name, cloud="", gpu=gpu, gpu_count=tensor, source=gpu.source))


def no_gpu(resource: str) -> Hardware:
    """What stands for a GPU where the engine computes on the CPU: of its memory nothing is predicted."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    gpu = GPU(name="cpu", model="CPU", vendor="", resource=resource, memory_bytes=memory)
    return Hardware(sku=SKU(name="cpu", cloud="", gpu=gpu, gpu_count=1))


def devices_of(text: str) -> tuple[Device, ...]:
    """What nvidia-smi printed; lines of another form are none of ours."""
    rows = [[word.strip() for word in line.split(",")] for line in text.splitlines()[:1000]]
    return tuple(
        Device(name=row[0], memory=row[1], capability=row[2], mig=row[3], driver=row[4])
        for row in rows
        if len(row) == len(_FIELDS)
    )


def hardware_of(devices: tuple[Device, ...], catalog: Catalog, tensor: int) -> Hardware:
    """The hardware of a machine with these GPUs.

    Raises:
        MeasureProblem: they are none, too few, of several kinds, or cut into slices.
    """
    if len(devices) < tensor:
        raise MeasureProblem(f"nvidia-smi lists {len(devices)} GPUs, and --tensor-parallel is {tensor}: {_ELSE}")
    first = devices[0]
    if any((one.name, one.memory) != (first.name, first.memory) for one in devices):
        raise MeasureProblem("the GPUs are of several kinds: choose some of one kind with CUDA_VISIBLE_DEVICES")
    if first.mig == "Enabled":
        raise MeasureProblem(f"{first.name} is cut into slices (MIG), which are not measured: take a whole GPU")
    product = first.name.replace(" ", "-")
    major, _, minor = first.capability.partition(".")
    labels = {
        PRODUCT_LABEL: product,
        COUNT_LABEL: str(len(devices)),
        MEMORY_LABEL: first.memory,
        **dict(zip(CAPABILITY_LABELS, (major, minor), strict=True)),
    }
    try:
        sku = node_sku(labels, catalog)
    except UnknownHardware:
        raise MeasureProblem(f"nvidia-smi gives {first.memory!r} as the memory of {first.name}: {_ELSE}") from None
    return Hardware(sku=evolve(sku, name=product), driver=first.driver)


def _listed() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        raise MeasureProblem(f"there is no nvidia-smi here, so no GPU is found: {_ELSE}")
    command = [program, f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        command.append(f"--id={visible}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        raise MeasureProblem(f"nvidia-smi finds no GPU: {_ELSE}") from None
    return done.stdout
