"""Starts vLLM's engine from its own options, prints what its log does not say as one line, and ends.

A program of the environment that holds vLLM, of which nothing else is imported; MEASURE_FIT_DEVICE says what it is to
compute on. The sizes of batches are those of vLLM's server, and the engine's core runs in this process, where it can be
asked.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

MARK = "measure-fit: "
DEVICE = "MEASURE_FIT_DEVICE"


def main(words: list[str]) -> None:
    """Start, tell, end."""
    _refuse_another_device(os.environ[DEVICE])
    from vllm.engine.arg_utils import EngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    from vllm.v1.engine.llm_engine import LLMEngine

    parser = EngineArgs.add_cli_args(FlexibleArgumentParser(prog="vllm"))
    arguments = EngineArgs.from_cli_args(parser.parse_args(words))
    engine = LLMEngine.from_engine_args(arguments, usage_context=UsageContext.OPENAI_API_SERVER)
    print(f"\n{MARK}{json.dumps(_told(engine))}", flush=True)
    engine.engine_core.shutdown()


def _refuse_another_device(wanted: str) -> None:
    """A build of vLLM for a CPU would start on a machine with a GPU as well, and measure something else."""
    from vllm.platforms import current_platform

    found = current_platform.device_type
    if found != wanted:
        what = f"computes on {found}" if found else "finds no device"
        sys.exit(f"measure-fit wants {wanted}, and vLLM {what}")


def _told(engine: Any) -> dict[str, Any]:
    config = engine.vllm_config
    ranks = engine.collective_rpc(_rank)
    core = getattr(engine.engine_core, "engine_core", None)
    spaces = [rank["kvSpace"] for rank in ranks] + [getattr(core, "available_gpu_memory_for_kv_cache", None)]
    return {
        "kvSpace": _least(spaces),
        "kvBlocks": config.cache_config.num_gpu_blocks,
        "maxModelLen": config.model_config.max_model_len,
        "requested": _least(rank["requested"] for rank in ranks),
        "seenMemory": _least(rank["seenMemory"] for rank in ranks),
    }


def _rank(wrapper: Any) -> dict[str, int | None]:
    """Asked of every rank, in that rank's process; a CPU has no such figures."""
    worker = getattr(wrapper, "worker", wrapper)
    return {
        "kvSpace": getattr(worker, "available_kv_cache_memory_bytes", None),
        "requested": getattr(worker, "requested_memory", None),
        "seenMemory": getattr(getattr(worker, "init_snapshot", None), "total_memory", None),
    }


def _least(values: Any) -> int | None:
    # An engine that was not asked to look has a mark below zero.
    known = [int(value) for value in values if value is not None and value >= 0]
    return min(known, default=None)


if __name__ == "__main__":
    main(sys.argv[1:])
