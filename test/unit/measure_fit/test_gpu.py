"""The GPU of a machine, out of what nvidia-smi prints."""

from __future__ import annotations

import pytest
from measure_fit.gpu import devices_of, hardware_of, named_gpu, no_gpu
from measure_fit.problem import MeasureProblem

from kaito_controller.catalog.loader import load
from kaito_controller.sizing.memory import MIB

CATALOG = load()
A100 = "NVIDIA A100-SXM4-80GB, 81920, 8.0, Disabled, 570.86.15"


def test_a_known_gpu_has_what_the_catalogue_knows_of_it():
    found = hardware_of(devices_of(f"{A100}\n{A100}\n"), CATALOG, 2)
    assert found.sku.gpu_count == 2
    assert found.sku.gpu.engine_memory_bytes == CATALOG.gpu("a100-80gb").engine_memory_bytes
    assert found.summary() == {
        "name": "NVIDIA A100 SXM4 80GB",
        "driverMemoryBytes": 81920 * MIB,
        "driver": "570.86.15",
        "computeCapability": "8.0",
    }


def test_an_unknown_gpu_has_what_the_driver_says():
    found = hardware_of(devices_of("NVIDIA GeForce RTX 9090, 49140, 13.1, [N/A], 600.1"), CATALOG, 1)
    assert (found.sku.gpu.driver_memory_bytes, str(found.sku.compute_capability)) == (49140 * MIB, "13.1")


@pytest.mark.parametrize(
    ("text", "ranks", "said"),
    [
        ("", 1, "nvidia-smi lists 0 GPUs"),
        (A100, 2, "lists 1 GPUs, and --tensor-parallel is 2"),
        (f"{A100}\nTesla T4, 15360, 7.5, [N/A], 570.86.15", 1, "several kinds"),
        (A100.replace("Disabled", "Enabled"), 1, "cut into slices"),
        (A100.replace("81920", "[N/A]"), 1, r"gives '\[N/A\]' as the memory"),
        ("No devices were found", 1, "nvidia-smi lists 0 GPUs"),
    ],
)
def test_what_cannot_be_measured_is_said(text: str, ranks: int, said: str):
    with pytest.raises(MeasureProblem, match=said):
        hardware_of(devices_of(text), CATALOG, ranks)


def test_a_gpu_can_be_named():
    assert named_gpu("Tesla-T4", CATALOG, 4).sku.gpu_count == 4
    assert no_gpu("nvidia.com/gpu").sku.compute_capability is None
