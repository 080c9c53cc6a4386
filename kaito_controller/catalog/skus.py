"""Reads `skus/<cloud>.yaml`: instance types, each with how many GPUs of which kind.

::

    cloud: azure
    source: the cloud's size pages
    skus:
      - {name: Standard_NC24ads_A100_v4, gpu: a100-80gb, count: 1, nvme: true}
      - {name: Standard_NV6ads_A10_v5, gpu: a10, count: 1, gpu_memory: 4Gi}     # a part that the hypervisor cut
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from kaito_controller.catalog.fields import Fields
from kaito_controller.catalog.hardware import GPU, SKU


def read_skus(document: Fields, gpus: Mapping[str, GPU]) -> Iterator[SKU]:
    """The instance types of one cloud's file, whose `gpu` is the name of one in `gpus`."""
    cloud = document.text("cloud")
    source = document.text("source")
    for entry in document.mappings("skus"):
        yield _sku(entry, gpus, cloud, source)
        entry.done()
    document.done()


def _sku(entry: Fields, gpus: Mapping[str, GPU], cloud: str, source: str) -> SKU:
    name = entry.text("gpu")
    gpu = gpus.get(name.lower())
    if gpu is None:
        near = ", ".join(difflib.get_close_matches(name.lower(), gpus, n=3, cutoff=0)) or "none is known"
        raise entry.problem("gpu", f"must be a GPU of the catalogue's gpus/ (nearest: {near})")
    return SKU(
        name=entry.text("name"),
        cloud=cloud,
        gpu=gpu,
        gpu_count=entry.positive("count"),
        own_memory_bytes=entry.optional_size("gpu_memory"),
        nvme=entry.flag("nvme"),
        source=entry.text("source", source),
    )
