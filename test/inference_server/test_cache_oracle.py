"""Our KV cache against vLLM's own: for tiny models of every way of attending, what vLLM says, we say.

vLLM builds each model without weights, and finds caches, blocks, tokens and lengths with its own code: see
`cache_oracle.py`.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from kaito_controller.catalog.config_json.reader import ModelConfig, read_config
from kaito_controller.catalog.loader import load
from kaito_controller.catalog.model import DTYPE_BYTES, Preset
from kaito_controller.sizing.cache_rules import CacheRules
from kaito_controller.sizing.engine import engine_on
from kaito_controller.sizing.flags import EngineFlags
from kaito_controller.sizing.kv_cache import kv_cache
from kaito_controller.sizing.layer_caches import layer_caches
from kaito_controller.sizing.parallelism import obstacles, stage_counts
from kaito_controller.sizing.precision import served_precision
from kaito_controller.sizing.split import Split
from kaito_controller.sizing.stages import stage_bounds
from kaito_controller.sizing.weights import Ranks, model_weights
from kaito_controller.testing.tiny_configs import CONFIGS

SCRIPT = Path(__file__).with_name("cache_oracle.py")
MIB = 1024**2
# Enough for a short context, for a long one, and for more than the model can use.
AVAILABLE = (3 * MIB, 40 * MIB, 400 * MIB)
# Ranks of a tensor and stages of a pipeline.
SPLITS = ((1, 1), (2, 1), (4, 1), (1, 2))
# Whisper's convolutions and biases and what Gemma-3n has of its own are not counted; a checkpoint's size tells them.
ROUGH = {"encoder and decoder": 0.3, "layers that share": 0.06}
# vLLM builds this one, and then has a key head for half of the ranks.
BUILT = {"gated delta; 4 ranks, 1 stages"}

CATALOG = load()
CPU = CATALOG.runtime("vllm-cpu-host")
SKU = CATALOG.sku("Standard_NC6s_v3")


def model_of(name: str) -> ModelConfig:
    return read_config(CONFIGS[name])


def preset_of(name: str) -> Preset:
    read = model_of(name)
    return Preset(
        name=name, family="", model_id=name, licence="", token_limit=read.token_limit, dtype=read.dtype,
        weights_bytes=1, architecture=read.architecture,
    )  # fmt: skip


CASES = [
    (name, tensor, stages)
    for name in CONFIGS
    for tensor, stages in SPLITS
    if stages in stage_counts(model_of(name).architecture)
    if not any(obstacles(model_of(name).architecture, tensor))
]
REFUSED = [
    (name, tensor, stages)
    for name in CONFIGS
    for tensor, stages in SPLITS
    if any(obstacles(model_of(name).architecture, tensor))
]


def label(case: tuple[str, int, int]) -> str:
    name, tensor, stages = case
    return f"{name}; {tensor} ranks, {stages} stages"


@pytest.fixture(scope="module")
def answers(inference_python: Path) -> dict[str, Any]:
    """What vLLM says of every case, asked once."""
    asked = [
        {"name": label(case), "config": CONFIGS[case[0]], "tensor": case[1], "stages": case[2], "available": AVAILABLE}
        for case in [*CASES, *REFUSED]
    ]
    done = subprocess.run(
        [inference_python, SCRIPT], input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)


def rules_of(name: str, tensor: int, stages: int, answer: dict[str, Any]) -> CacheRules:
    """Our rules for a CPU, but for what depends on the machine: which kernels its processor has."""
    preset = preset_of(name)
    precision = served_precision(preset, SKU, CPU, EngineFlags())
    rules = engine_on(
        preset.architecture,
        SKU,
        CPU,
        precision=precision,
        flags=EngineFlags(),
        split=Split(tensor=tensor, pipeline=stages),
        limit=preset.token_limit,
    ).rules
    recurrent = answer["recurrentDtype"]
    is_other_kernel = answer["blockSize"] != rules.block_size
    kernel = min(32 if is_other_kernel else rules.kernel_block, answer["blockSize"])
    in_flight = rules.in_flight_tokens
    if is_other_kernel:
        # With AMX latent attention reads a prompt in parts; the plan, which knows no processor, counts on the whole.
        in_flight = min(in_flight, answer["inFlightTokens"])
    return evolve(
        rules,
        block_size=answer["blockSize"],
        kernel_block=kernel,
        in_flight_tokens=in_flight,
        recurrent_bytes=None if recurrent == "auto" else DTYPE_BYTES[recurrent],
    )


@pytest.mark.parametrize("case", CASES, ids=label)
def test_caches_blocks_tokens_and_lengths_are_those_of_vllm(case: tuple[str, int, int], answers: dict[str, Any]):
    """Block sizes and bytes of each layer, blocks of the pool, tokens as logged, and the longest context."""
    name, tensor, stages = case
    answer = answers[label(case)]
    assert "error" not in answer, answer
    read = model_of(name)
    rules = rules_of(name, tensor, stages, answer)
    cache = kv_cache(read.architecture, tensor=tensor, stages=stages, rules=rules)

    layers = layer_caches(read.architecture, tensor, rules)
    ours = [[one.block_size, one.page_bytes] for layer in layers for one in layer]
    assert ours == [one for stage in answer["stages"] for one in stage["caches"]]
    assert (read.token_limit, rules.in_flight_tokens) == (answer["limit"], answer["inFlightTokens"])
    for available, fits in zip(AVAILABLE, answer["fits"], strict=True):
        left = [available] * stages
        length = cache.longest(left, read.token_limit)
        found = (
            {"blocks": cache.blocks(left), "length": length, "tokens": cache.tokens(left, length)} if length else None
        )
        assert found == fits, available


@pytest.mark.parametrize("case", CASES, ids=label)
def test_the_weights_of_a_rank_are_those_of_vllm(case: tuple[str, int, int], answers: dict[str, Any]):
    """Numbers on a rank of each stage; a little less where norms and biases are not counted, more only where said."""
    name, tensor, stages = case
    preset = preset_of(name)
    layers = preset.architecture.layers
    weights = model_weights(preset, "bfloat16")
    for bounds, stage in zip(stage_bounds(layers, stages), answers[label(case)]["stages"], strict=True):
        numbers = weights.on_rank(bounds, layers=layers, ranks=Ranks(tensor=tensor)) // 2
        # Some models hold embeddings on stages that need none, and we take all of a kind to do so.
        unsure = 2 * preset.architecture.embedding_parameters // tensor if stages > 1 else 0
        assert numbers >= stage["parameters"] * (1 - ROUGH.get(name, 0.01)), bounds
        assert numbers <= stage["parameters"] * (1 + ROUGH.get(name, 0.01)) + unsure, bounds


@pytest.mark.parametrize("case", REFUSED, ids=label)
def test_what_we_do_not_cut_vllm_does_not_cut(case: tuple[str, int, int], answers: dict[str, Any]):
    """Each way of cutting that we keep from users is one that vLLM refuses."""
    assert "error" in answers[label(case)] or label(case) in BUILT
