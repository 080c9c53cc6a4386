"""What Nodes say about themselves: readiness, and on existing nodes the GPUs by their labels. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from kaito_controller.api import labels as keys
from kaito_controller.api.reasons import Reason
from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.loader import Catalog
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.kube import metadata, quantity
from kaito_controller.kube.conditions import TRUE, status_of
from kaito_controller.kube.metadata import Object
from kaito_controller.sizing.node_sku import UnknownHardware, node_sku

GPU_RESOURCE: Final = "nvidia.com/gpu"

_PRESSURES: Final = ("DiskPressure", "MemoryPressure", "PIDPressure")


def is_ready(node: Object) -> bool:
    """Whether the kubelet reports Ready and nobody has asked for the node's deletion."""
    return status_of(node, "Ready") == TRUE and not metadata.is_deleting(node)


def instance_type(node: Object) -> str:
    """Return the node's instance type by its well-known label; empty when it has none."""
    return metadata.labels(node).get(keys.INSTANCE_TYPE, "")


def gpus(node: Object, resource: str = GPU_RESOURCE) -> int:
    """Return how many GPUs the kubelet offers to pods: what the device plugin has registered so far."""
    offered = ((node.get("status") or {}).get("allocatable") or {}).get(resource, "0")
    return int(quantity.parse(offered))


def pressures(nodes: Iterable[Object]) -> str:
    """Return the nodes under resource pressure as ``name (DiskPressure)``, comma-separated; empty without any."""
    found = []
    for node in sorted(nodes, key=metadata.name):
        pressing = [pressure for pressure in _PRESSURES if status_of(node, pressure) == TRUE]
        if pressing:
            found.append(f"{metadata.name(node)} ({', '.join(pressing)})")
    return ", ".join(found)


def sku_of(nodes: Sequence[Object], catalog: Catalog) -> SKU | Blocked:
    """Return the instance type that existing nodes amount to, from their GPU labels or their instance type.

    All nodes must be alike, because one plan is made for all of them.
    """
    found: dict[tuple[int, int, str], list[str]] = {}
    sku = None
    for node in sorted(nodes, key=metadata.name):
        try:
            sku = node_sku(metadata.labels(node), catalog)
        except UnknownHardware as error:
            return Blocked(
                reason=Reason.NODE_PLUGINS_NOT_READY,
                message=f"node {metadata.name(node)}: {error}. Label the node, or narrow resource.labelSelector.",
                waits=True,
            )
        found.setdefault((sku.gpu_count, sku.gpu_memory_bytes, sku.gpu_model), []).append(metadata.name(node))
    if len(found) > 1:
        kinds = "; ".join(f"{', '.join(names)}: {count} of {model}" for (count, _, model), names in found.items())
        return Blocked(
            reason=Reason.SELECTOR_INVALID,
            message=(
                f"resource.labelSelector: the nodes must have the same GPUs, found {kinds}. "
                "Narrow the selector to one kind of node."
            ),
        )
    return sku if sku is not None else Blocked(reason=Reason.NODE_NOT_READY, message="no node matches", waits=True)
