"""The hardware of an existing node, read from its labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import evolve

from kaito_controller.catalog.hardware import GPU, SKU, ComputeCapability, Partition
from kaito_controller.catalog.loader import Catalog, UnknownGPU, UnknownInstanceType
from kaito_controller.sizing.memory import GIB, MIB

INSTANCE_TYPE_LABEL: Final = "node.kubernetes.io/instance-type"
# Written by NVIDIA's GPU feature discovery; memory is MiB per GPU.
PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
COUNT_LABEL: Final = "nvidia.com/gpu.count"
MEMORY_LABEL: Final = "nvidia.com/gpu.memory"
CAPABILITY_LABELS: Final = ("nvidia.com/cuda.compute.major", "nvidia.com/cuda.compute.minor")

_SLICE_MARK: Final = "-MIG-"
# Drivers of different ages report this share of a GPU's memory more or less.
_SAME_MEMORY: Final = 0.03


class UnknownHardware(LookupError):  # noqa: N818 (named by what is wrong, as the catalogue's errors are)
    """Neither the node's GPU labels nor its instance type say what GPUs it has."""


def node_sku(labels: Mapping[str, str], catalog: Catalog) -> SKU:
    """The GPUs of a node: from GPU feature discovery's labels, else from the catalogue by its instance type.

    What the labels say wins; what else is known of the GPU is the catalogue's, which knows it by its product's name.
    The memory that the driver reports is a little below the nominal one; it is rounded to whole GiB, as upstream does.
    A product that ends in a profile is a slice of a GPU (NVIDIA MIG, strategy "single"), and the labels count slices.

    Raises:
        UnknownHardware: the labels say too little, or one is no number.
    """
    if COUNT_LABEL in labels and MEMORY_LABEL in labels:
        return _discovered(labels, catalog)
    instance_type = labels.get(INSTANCE_TYPE_LABEL, "")
    try:
        return catalog.sku(instance_type)
    except UnknownInstanceType:
        raise UnknownHardware(
            f"the node's labels must say its GPUs ({COUNT_LABEL}, {MEMORY_LABEL}, set by GPU feature discovery)"
            f" or name a known instance type in {INSTANCE_TYPE_LABEL}; found "
            + (f"instance type '{instance_type}'" if instance_type else "neither")
        ) from None


def _discovered(labels: Mapping[str, str], catalog: Catalog) -> SKU:
    product, _, profile = labels.get(PRODUCT_LABEL, "unknown").partition(_SLICE_MARK)
    count, memory = _number(labels, COUNT_LABEL), _number(labels, MEMORY_LABEL) * MIB
    # The device plugin offers such slices under the name of whole GPUs.
    cut = Partition(profile=profile, per_gpu=1, memory_bytes=memory, resource="nvidia.com/gpu") if profile else None
    return SKU(
        name=labels.get(INSTANCE_TYPE_LABEL, "unknown"),
        cloud="",
        gpu=_gpu(product, memory, labels, catalog),
        gpu_count=count,
        partition=cut,
        source="node labels",
    )


def _gpu(product: str, memory: int, labels: Mapping[str, str], catalog: Catalog) -> GPU:
    found = GPU(
        name=product,
        model=product.replace("-", " "),
        vendor="nvidia",
        resource="nvidia.com/gpu",
        memory_bytes=max(1, round(memory / GIB)) * GIB,
        driver_memory_bytes=memory,
        compute_capability=_capability(labels),
        products=(product,),
        source="node labels",
    )
    try:
        known = catalog.gpu(product)
    except UnknownGPU:
        return found
    if known.driver_memory_bytes is not None and abs(known.driver_memory_bytes - memory) > memory * _SAME_MEMORY:
        return found
    return evolve(
        found,
        engine_memory_bytes=known.engine_memory_bytes,
        compute_capability=found.compute_capability or known.compute_capability,
        dtypes=known.dtypes,
        gpu_memory_utilization=known.gpu_memory_utilization,
        partitions=known.partitions,
    )


def _number(labels: Mapping[str, str], name: str) -> int:
    text = labels[name]
    if not text.isdecimal() or int(text) == 0:
        raise UnknownHardware(f"the node's label {name} must be a whole number above zero; found '{text}'")
    return int(text)


def _capability(labels: Mapping[str, str]) -> ComputeCapability | None:
    major, minor = (labels.get(name, "") for name in CAPABILITY_LABELS)
    return ComputeCapability(major=int(major), minor=int(minor)) if major.isdecimal() and minor.isdecimal() else None
