"""Slices of GPUs (NVIDIA MIG) as devices of their own."""

from __future__ import annotations

import re
from typing import Final

from attrs import evolve

from kaito_controller.catalog.hardware import GPU, SKU, Partition

_PROFILE: Final = re.compile(r"\d+g\.\d+gb")


class UnknownSlice(LookupError):  # noqa: N818 (named by what is wrong, as the catalogue's errors are)
    """A GPU has no slice of this profile, or nobody knows its memory; one sentence with a remedy."""


def sliced(sku: SKU, profile: str) -> SKU:
    """The same instance type with its GPUs cut into slices of one profile.

    Raises:
        UnknownSlice: the GPU is not cut so, or the slice's memory is not known.
    """
    partition = find_slice(sku.gpu, profile)
    return evolve(sku, partition=partition, gpu_count=sku.gpu_count * partition.per_gpu)


def find_slice(gpu: GPU, profile: str) -> Partition:
    """A GPU's slice of one profile, whose memory is known.

    Raises:
        UnknownSlice: there is none, or its memory is not known.
    """
    known = [partition for partition in gpu.partitions if partition.memory_bytes is not None]
    found = next((partition for partition in known if partition.profile == profile), None)
    if found is not None:
        return found
    names = ", ".join(partition.profile for partition in known) or "none"
    if any(partition.profile == profile for partition in gpu.partitions):
        raise UnknownSlice(f"the memory of slice {profile} of {gpu.model} is not known: use one of {names}")
    rule = "" if _PROFILE.fullmatch(profile) else ", which looks like 1g.10gb"
    raise UnknownSlice(f"{gpu.model} has no slice '{profile[:40]}'{rule}: use one of {names}")
