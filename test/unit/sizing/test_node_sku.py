"""The hardware of existing nodes, as their labels tell it."""

from __future__ import annotations

import pytest

from kaito_controller.catalog.loader import load
from kaito_controller.sizing.node_sku import UnknownHardware, node_sku

CATALOG = load()

DISCOVERED = {
    "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
    "nvidia.com/gpu.count": "8",
    "nvidia.com/gpu.memory": "81920",
    "nvidia.com/cuda.compute.major": "8",
    "nvidia.com/cuda.compute.minor": "0",
    "node.kubernetes.io/instance-type": "bare-metal",
}


def test_gpu_feature_discovery_is_believed():
    """Count, memory, model and capability come from the labels that NVIDIA's discovery writes."""
    sku = node_sku(DISCOVERED, CATALOG)

    assert (
        sku.name,
        sku.gpu_count,
        sku.gpu_memory_bytes,
        sku.gpu_model,
        str(sku.compute_capability),
    ) == ("bare-metal", 8, 80 * 1024**3, "NVIDIA A100 SXM4 80GB", "8.0")


def test_the_driver_s_memory_is_rounded_to_the_nominal():
    """A 16 GiB V100 reports 16160 MiB."""
    assert node_sku({**DISCOVERED, "nvidia.com/gpu.memory": "16160"}, CATALOG).gpu_memory_bytes == 16 * 1024**3


def test_the_instance_type_is_the_second_best():
    """Without discovery the catalogue knows the node by its instance type."""
    assert CATALOG.sku("Standard_NC6s_v3") == node_sku(
        {"node.kubernetes.io/instance-type": "Standard_NC6s_v3"}, CATALOG
    )


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ({}, "found neither"),
        ({"node.kubernetes.io/instance-type": "m5.large"}, "found instance type 'm5.large'"),
        (
            {**DISCOVERED, "nvidia.com/gpu.count": "many"},
            "nvidia.com/gpu.count must be a whole number above zero; found 'many'",
        ),
    ],
)
def test_a_node_that_says_too_little_is_an_error(labels: dict[str, str], found: str):
    """The error says which labels would do."""
    with pytest.raises(UnknownHardware) as caught:
        node_sku(labels, CATALOG)

    assert found in str(caught.value)


def test_a_known_product_brings_what_labels_do_not_say():
    """The share of an A10 that the engine gets, and what a process sees of its memory."""
    labels = {**DISCOVERED, "nvidia.com/gpu.product": "NVIDIA-A10", "nvidia.com/gpu.memory": "23028"}
    sku = node_sku(labels, CATALOG)

    assert sku.gpu_memory_utilization == 0.82
    assert sku.gpu.driver_memory_bytes == 23028 * 1024**2


def test_a_known_name_with_other_memory_is_another_gpu():
    """What the labels say wins where the catalogue's number is a different card's."""
    labels = {**DISCOVERED, "nvidia.com/gpu.product": "NVIDIA-A10", "nvidia.com/gpu.memory": "40960"}
    sku = node_sku(labels, CATALOG)

    assert (sku.gpu_memory_bytes, sku.gpu_memory_utilization) == (40 * 1024**3, None)


def test_slices_are_counted_as_the_node_offers_them():
    """With the single strategy of MIG the product has the profile at its end, and memory is the slice's."""
    labels = {
        **DISCOVERED,
        "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb",
        "nvidia.com/gpu.count": "7",
        "nvidia.com/gpu.memory": "9728",
    }
    sku = node_sku(labels, CATALOG)

    assert sku.partition is not None
    assert (sku.gpu_count, sku.gpu_memory_bytes, sku.partition.profile) == (7, 9728 * 1024**2, "1g.10gb")
    assert sku.partition.resource == "nvidia.com/gpu"
