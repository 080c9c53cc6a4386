"""The hardware of an existing node, read from its labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kaito_controller.catalog.hardware import GPU, SKU, ComputeCapability
from kaito_controller.catalog.loader import Catalog, UnknownInstanceType
from kaito_controller.sizing.memory import GIB, MIB

INSTANCE_TYPE_LABEL: Final = "node.kubernetes.io/instance-type"
# Written by NVIDIA's GPU feature discovery; memory is MiB per GPU.
PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
COUNT_LABEL: Final = "nvidia.com/gpu.count"
MEMORY_LABEL: Final = "nvidia.com/gpu.memory"
CAPABILITY_LABELS: Final = ("nvidia.com/cuda.compute.major", "nvidia.com/cuda.compute.minor")


class UnknownHardware(LookupError):  # noqa: N818 (named by what is wrong, as the catalogue's errors are)
    """Neither the node's GPU labels nor its instance type say what GPUs it has."""


def node_sku(labels: Mapping[str, str], catalog: Catalog) -> SKU:
    """The GPUs of a node: from GPU feature discovery's labels, else from the catalogue by its instance type.

    The memory that the driver reports is a little below the nominal one; it is rounded to whole GiB, as upstream does.

    Raises:
        UnknownHardware: the labels say too little, or one is no number.
    """
    if COUNT_LABEL in labels and MEMORY_LABEL in labels:
        return _discovered(labels)
    instance_type = labels.get(INSTANCE_TYPE_LABEL, "")
    try:
        return catalog.sku(instance_type)
    except UnknownInstanceType:
        raise UnknownHardware(
            f"the node's labels must say its GPUs ({COUNT_LABEL}, {MEMORY_LABEL}, set by GPU feature discovery)"
            f" or name a known instance type in {INSTANCE_TYPE_LABEL}; found "
            + (f"instance type '{instance_type}'" if instance_type else "neither")
        ) from None


def _discovered(labels: Mapping[str, str]) -> SKU:
    model = labels.get(PRODUCT_LABEL, "unknown")
    gpu = GPU(
        name=model,
        model=model.replace("-", " "),
        vendor="nvidia",
        resource="nvidia.com/gpu",
        memory_bytes=max(1, round(_number(labels, MEMORY_LABEL) / 1024)) * GIB,
        driver_memory_bytes=_number(labels, MEMORY_LABEL) * MIB,
        compute_capability=_capability(labels),
        products=(model,),
        source="node labels",
    )
    return SKU(
        name=labels.get(INSTANCE_TYPE_LABEL, "unknown"),
        cloud="",
        gpu=gpu,
        gpu_count=_number(labels, COUNT_LABEL),
        source="node labels",
    )


def _number(labels: Mapping[str, str], name: str) -> int:
    text = labels[name]
    if not text.isdecimal() or int(text) == 0:
        raise UnknownHardware(f"the node's label {name} must be a whole number above zero; found '{text}'")
    return int(text)


def _capability(labels: Mapping[str, str]) -> ComputeCapability | None:
    major, minor = (labels.get(name, "") for name in CAPABILITY_LABELS)
    return ComputeCapability(major=int(major), minor=int(minor)) if major.isdecimal() and minor.isdecimal() else None
