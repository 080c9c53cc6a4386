"""Asks vLLM itself how it would cache models: a program of the inference environment, which needs no weights.

Reads a JSON list of cases from standard input, each `{"name", "config", "tensor", "stages", "available"}`, and prints
one JSON object by name. Models are built on the meta device, so nothing is allocated; a rank of several is built by
telling the process groups, made for this one process, that they are larger.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.update(
    HF_HUB_OFFLINE="1",
    VLLM_TARGET_DEVICE="cpu",
    VLLM_CPU_KVCACHE_SPACE="1",
    VLLM_ENABLE_V1_MULTIPROCESSING="0",
    VLLM_LOGGING_LEVEL="ERROR",
    VLLM_NO_USAGE_STATS="1",
)

import torch
import vllm.distributed.parallel_state as groups
from vllm.config import VllmConfig, set_current_vllm_config
from vllm.distributed import destroy_model_parallel, ensure_model_parallel_initialized, init_distributed_environment
from vllm.engine.arg_utils import EngineArgs
from vllm.model_executor.model_loader.utils import initialize_model
from vllm.model_executor.models import registry
from vllm.platforms import current_platform
from vllm.usage.usage_lib import UsageContext
from vllm.v1.core.kv_cache_utils import (
    generate_scheduler_kv_cache_config,
    get_kv_cache_capacity,
    get_kv_cache_configs,
)
from vllm.v1.kv_cache_interface import KVCacheSpec
from vllm.v1.worker.gpu.attn_utils import get_kv_cache_spec


def answer(case: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """What vLLM makes of one case: caches and parameters of each stage, and blocks, tokens and length by memory."""
    config = _engine_config(case, scratch)
    block = config.cache_config.block_size
    stages, specs = [], []
    for rank in range(case["stages"]):
        found, parameters = _stage(config, rank, case)
        specs.append(found)
        caches = [[spec.block_size, spec.page_size_bytes] for spec in found.values()]
        stages.append({"caches": caches, "parameters": parameters})
    batched = config.scheduler_config.max_num_batched_tokens * config.max_concurrent_batches
    return {
        "stages": stages,
        "limit": config.model_config.max_model_len,
        "blockSize": block,
        "inFlightTokens": batched,
        "recurrentDtype": config.cache_config.mamba_ssm_cache_dtype,
        "prefixCaching": config.cache_config.mamba_cache_mode == "align",
        "encoderTokens": config.scheduler_config.max_num_encoder_input_tokens,
        "fits": [_fit(config, specs, available) for available in case["available"]],
    }


def _engine_config(case: dict[str, Any], scratch: Path) -> VllmConfig:
    folder = scratch / case["name"].replace("/", "_")
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(case["config"]))
    arguments = EngineArgs(
        model=str(folder),
        skip_tokenizer_init=True,
        load_format="dummy",
        enforce_eager=True,
        max_model_len=-1,
        tensor_parallel_size=case["tensor"],
        pipeline_parallel_size=case["stages"],
    )
    return arguments.create_engine_config(UsageContext.OPENAI_API_SERVER)


def _stage(config: VllmConfig, rank: int, case: dict[str, Any]) -> tuple[dict[str, KVCacheSpec], int]:
    config.compilation_config.static_forward_context.clear()
    with set_current_vllm_config(config):
        destroy_model_parallel()
        config.parallel_config.tensor_parallel_size = config.parallel_config.pipeline_parallel_size = 1
        ensure_model_parallel_initialized(1, 1)
        config.parallel_config.tensor_parallel_size = case["tensor"]
        config.parallel_config.pipeline_parallel_size = case["stages"]
        groups._TP.world_size = case["tensor"]
        groups._PP.world_size, groups._PP.rank_in_group = case["stages"], rank
        groups._PP.ranks = list(range(case["stages"]))
        groups._PP.rank = rank
        with torch.device("meta"):
            model = initialize_model(vllm_config=config)
        current_platform.update_block_size_for_backend(config)
        return get_kv_cache_spec(config), sum(parameter.numel() for parameter in model.parameters())


def _fit(config: VllmConfig, specs: list[dict[str, KVCacheSpec]], available: int) -> dict[str, int] | None:
    derived = config.model_config.max_model_len
    # What every attention backend of a CPU stores, and what the engine would find by asking its workers.
    config.cache_config.kv_cache_layout = "LBHNC"
    config.model_config.original_max_model_len = -1
    try:
        made = get_kv_cache_configs(config, [dict(one) for one in specs], [available] * len(specs))
    except ValueError:
        return None
    else:
        tokens, _ = get_kv_cache_capacity(config, generate_scheduler_kv_cache_config(made))
        return {"blocks": made[0].num_blocks, "length": config.model_config.max_model_len, "tokens": tokens}
    finally:
        config.model_config.max_model_len = derived


def main() -> None:
    """Answer every case of standard input."""
    cases = json.load(sys.stdin)
    # vLLM looks at each class in a process of its own, to keep its own one free of CUDA; here it only takes time.
    registry._run_in_subprocess = lambda look: look()
    output, sys.stdout = sys.stdout, sys.stderr
    answers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        # Where ranks meet, of which there is one: every group made later meets there too.
        init_distributed_environment(1, 0, f"file://{scratch}/ranks", 0, "gloo")
        for case in cases:
            began = time.monotonic()
            try:
                answers[case["name"]] = answer(case, Path(scratch))
            except Exception as error:  # noqa: BLE001 (one model that vLLM refuses must not hide the others)
                answers[case["name"]] = {"error": f"{type(error).__name__}: {error}"}
            print(f"{case['name']}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    json.dump(answers, output)


if __name__ == "__main__":
    main()
