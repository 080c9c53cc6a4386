"""Reads `gpus/<vendor>.yaml`: what is known of each kind of GPU, once.

::

    vendor: nvidia
    resource: nvidia.com/gpu
    source: NVIDIA's data sheets
    gpus:
      - name: a100-80gb                       # what a row of skus/<cloud>.yaml refers to
        model: NVIDIA A100 80GB
        products: [NVIDIA-A100-SXM4-80GB, NVIDIA-A100-80GB-PCIe]
        compute_capability: "8.0"
        memory: 80Gi                          # nominal
        driver_memory: 81920Mi                # NVML, and the label nvidia.com/gpu.memory
        engine_memory: 81050Mi                # cudaMemGetInfo; leave out what no source gives
        dtypes: [float32, float16, bfloat16, int8]
        partitions:
          - {profile: 1g.10gb, memory: 9856Mi, per_gpu: 7}      # memory only where a source gives it
        source: where this row's numbers are from, if elsewhere
"""

from __future__ import annotations

from collections.abc import Iterator

from kaito_controller.catalog.fields import Fields
from kaito_controller.catalog.hardware import GPU, ComputeCapability, Partition


def read_gpus(document: Fields) -> Iterator[GPU]:
    """The kinds of GPU in one vendor's file."""
    vendor = document.text("vendor")
    resource = document.text("resource")
    source = document.text("source")
    for entry in document.mappings("gpus"):
        yield _gpu(entry, vendor, resource, source)
        entry.done()
    document.done()


def read_capability(fields: Fields, name: str) -> ComputeCapability | None:
    """A compute capability, or None when the field is absent."""
    text = fields.optional_text(name)
    if text is None:
        return None
    try:
        return ComputeCapability.parse(text)
    except ValueError:
        raise fields.problem(name, 'must be MAJOR.MINOR in quotes, for example "8.0"') from None


def _gpu(entry: Fields, vendor: str, resource: str, source: str) -> GPU:
    gpu = GPU(
        name=entry.text("name"),
        model=entry.text("model"),
        vendor=vendor,
        resource=entry.text("resource", resource),
        memory_bytes=entry.size("memory"),
        driver_memory_bytes=entry.optional_size("driver_memory"),
        engine_memory_bytes=entry.optional_size("engine_memory"),
        compute_capability=read_capability(entry, "compute_capability"),
        dtypes=entry.texts("dtypes"),
        gpu_memory_utilization=entry.share("gpu_memory_utilization"),
        partitions=tuple(_partition(one) for one in entry.mappings("partitions")),
        products=entry.texts("products"),
        source=entry.text("source", source),
    )
    if gpu.engine_memory_bytes and gpu.engine_memory_bytes > (gpu.driver_memory_bytes or gpu.engine_memory_bytes):
        raise entry.problem("engine_memory", "must be at most driver_memory")
    return gpu


def _partition(fields: Fields) -> Partition:
    partition = Partition(
        profile=fields.text("profile"), memory_bytes=fields.optional_size("memory"), per_gpu=fields.positive("per_gpu")
    )
    fields.done()
    return partition
