"""Reads `skus/<cloud>.yaml`: a table of GPU models, then the instance types that hold them."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from kaito_controller.catalog.fields import Fields
from kaito_controller.catalog.model import SKU, ComputeCapability


@frozen(kw_only=True)
class _GPU:
    model: str
    resource: str
    compute_capability: ComputeCapability | None
    utilization: float | None


def read_skus(document: Fields) -> Iterator[SKU]:
    """The instance types of one cloud's file."""
    cloud = document.text("cloud")
    source = document.text("source")
    table = document.mapping("gpus")
    gpus = {name: _gpu(table.mapping(name)) for name in table}
    for entry in document.mappings("skus"):
        yield _sku(entry, gpus, cloud, source)
        entry.done()
    document.done()


def _gpu(fields: Fields) -> _GPU:
    gpu = _GPU(
        model=fields.text("model"),
        resource=fields.text("resource"),
        compute_capability=read_capability(fields, "compute_capability"),
        utilization=fields.share("gpu_memory_utilization"),
    )
    fields.done()
    return gpu


def read_capability(fields: Fields, name: str) -> ComputeCapability | None:
    """A compute capability, or None when the field is absent."""
    text = fields.optional_text(name)
    if text is None:
        return None
    try:
        return ComputeCapability.parse(text)
    except ValueError:
        raise fields.problem(name, 'must be MAJOR.MINOR in quotes, for example "8.0"') from None


def _sku(entry: Fields, gpus: dict[str, _GPU], cloud: str, source: str) -> SKU:
    gpu = gpus.get(entry.text("gpu"))
    if gpu is None:
        raise entry.problem("gpu", f"must be one of the file's gpus: {', '.join(gpus)}")
    return SKU(
        name=entry.text("name"),
        cloud=cloud,
        gpu_count=entry.positive("count"),
        gpu_memory_bytes=entry.size("gpu_memory"),
        gpu_model=gpu.model,
        resource=gpu.resource,
        compute_capability=gpu.compute_capability,
        gpu_memory_utilization=gpu.utilization,
        nvme=entry.flag("nvme"),
        source=entry.text("source", source),
    )
