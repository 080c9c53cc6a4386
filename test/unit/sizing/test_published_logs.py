"""Our figures against what vLLM logged on real GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from ruamel.yaml import YAML

from kaito_controller.catalog.hardware import GPU, SKU, ComputeCapability
from kaito_controller.catalog.loader import load
from kaito_controller.catalog.model import Preset
from kaito_controller.catalog.quantisation import Part, Quantisation
from kaito_controller.sizing.fit import Demand, Fit, fit_of
from kaito_controller.sizing.flags import read_flags
from kaito_controller.sizing.inference import DoesNotFit, plan_inference
from kaito_controller.sizing.kv_cache import KVCache
from kaito_controller.sizing.memory import GIB
from kaito_controller.sizing.model_sizes import ModelSizes
from kaito_controller.sizing.precision import served_precision
from kaito_controller.sizing.split import Split

CATALOG = load()
RUNTIME = CATALOG.runtime("vllm-cuda")
LOGS: dict[str, list[dict[str, Any]]] = YAML(typ="safe").load(
    Path(__file__).with_name("published_logs.yaml").read_text(encoding="utf-8")
)
# The figures of the plan may be this far from the engine's own.
TOLERANCE = 0.1
PACKED = Quantisation(method="fp8", bits=8, block=(128, 128), scale_bits=32, unpacked=(Part.HEAD,))


def label(log: dict[str, Any]) -> str:
    return f"{log['model']} {log['source'].rpartition('/')[2]}"


def preset_of(log: dict[str, Any]) -> Preset:
    preset = CATALOG.preset(log["model"])
    return evolve(preset, quantisation=PACKED, weights_bytes=1) if log.get("packed") else preset


def node(log: dict[str, Any]) -> SKU:
    capability = log.get("capability") or ("8.0" if "A100" in log.get("gpu", "") else "9.0")
    total = round(log.get("total", 80) * GIB)
    gpu = GPU(
        name="logged", model=log.get("gpu", "NVIDIA"), vendor="nvidia", resource="nvidia.com/gpu", memory_bytes=total,
        engine_memory_bytes=total, compute_capability=ComputeCapability.parse(capability),
    )  # fmt: skip
    return SKU(name="logged", cloud="", gpu=gpu, gpu_count=log.get("gpus", 1))


def fit(log: dict[str, Any]) -> Fit:
    """The logged engine; releases before 0.21 did not count CUDA graphs."""
    flags = read_flags({**log.get("flags", {}), "enforce-eager": "true", "kv-cache-dtype": log.get("kv_cache_dtype")})
    runtime = evolve(RUNTIME, engine_version=log.get("engine"))
    preset, sku = preset_of(log), node(log)
    precision = served_precision(preset, sku, runtime, flags)
    split = Split(tensor=log.get("tensor") or log.get("gpus", 1))
    return fit_of(ModelSizes(preset=preset), sku, runtime, split, precision=precision, demand=Demand(flags=flags))


def cache(log: dict[str, Any]) -> KVCache:
    return fit(log).cache


@pytest.mark.parametrize("log", [log for log in LOGS["caches"] if "requests" in log], ids=label)
def test_a_cache_of_so_many_bytes_holds_the_tokens_that_were_logged(log: dict[str, Any]):
    """Tokens, requests and the length of a block, to the last digit where only the layout decides."""
    found, left = cache(log), [int(log["available"] * GIB)]

    assert found.tokens(left, log["max_model_len"]) == log["tokens"]
    assert round(found.requests(left, log["max_model_len"]), 2) == log["requests"]
    assert {one.block_size for group in found.groups for _, one in group.members} == {log["block_size"]}


@pytest.mark.parametrize("log", LOGS["caches"], ids=label)
def test_tokens_of_a_cache_are_near_the_logged_ones(log: dict[str, Any]):
    """Where another rank had a little less, the figure is still near."""
    found = cache(log).tokens([int(log["available"] * GIB)], log["max_model_len"])

    assert found == pytest.approx(log["tokens"], rel=0.02)


@pytest.mark.parametrize("log", [log for log in LOGS["memory"] if "weights" in log], ids=label)
def test_weights_are_near_the_loaded_ones(log: dict[str, Any]):
    """Weights and the margin of loading them, within 2 %."""
    entries = {entry.entry: entry.bytes for entry in fit(log).ledger}

    assert (entries["weights"] + entries["loading margin"]) / GIB == pytest.approx(log["weights"], rel=0.02)


@pytest.mark.parametrize("log", [log for log in LOGS["memory"] if "available" in log], ids=label)
def test_what_is_left_for_the_cache_is_near_the_logged_memory(log: dict[str, Any]):
    """Within 10 % of what the engine found when it tried itself out."""
    assert min(fit(log).left) / GIB == pytest.approx(log["available"], rel=TOLERANCE)


@pytest.mark.parametrize("log", [log for log in LOGS["memory"] if "tokens" in log], ids=label)
def test_tokens_are_near_the_logged_ones(log: dict[str, Any]):
    """From the GPU's memory to the tokens of its cache, within 10 %."""
    found = fit(log)

    assert found.cache.tokens(found.left, found.limit) == pytest.approx(log["tokens"], rel=TOLERANCE)


@pytest.mark.parametrize("log", [log for log in LOGS["memory"] if "refused" in log], ids=label)
def test_what_did_not_start_does_not_fit(log: dict[str, Any]):
    """The engine refused the context, and so does the plan."""
    flags = read_flags({**log["flags"], "max-model-len": log["refused"], "tensor-parallel-size": log.get("gpus", 1)})
    runtime = evolve(RUNTIME, engine_version=log["engine"], multi_node=False)
    plan = plan_inference(preset_of(log), node(log), runtime=runtime, flags=flags)

    assert isinstance(plan, DoesNotFit)
