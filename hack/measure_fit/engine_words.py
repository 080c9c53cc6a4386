"""The options of the engine: ours, the runtime's and the caller's own, as words and as the ledger reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from inference_server import contract
from kaito_controller.catalog.hardware import SKU
from kaito_controller.catalog.model import EngineDevice, Runtime
from kaito_controller.sizing.flags import EngineFlags
from kaito_controller.sizing.usable_memory import utilization as usual_share
from measure_fit.problem import MeasureProblem

# What this tool decides, or has no prediction for.
_FIXED: Final = {
    "model",
    "load_format",
    "skip_tokenizer_init",
    "pipeline_parallel_size",
    "data_parallel_size",
    "config",
}
# On a CPU the space is given, not found; enough for the longest context of a small model.
_CPU_KV_BYTES: Final = 2**30


def asked_words(
    runtime: Runtime, sku: SKU, *, utilization: str | None, max_model_len: str, tensor: int, more: Sequence[str]
) -> list[str]:
    """The options that decide memory, of which a later one wins; the share of a GPU is the plan's unless it is given.

    Raises:
        MeasureProblem: one of the caller's is not for this tool.
    """
    given = options_of(more)
    fixed = sorted(_FIXED & given.keys())
    if fixed:
        raise MeasureProblem(f"--{fixed[0].replace('_', '-')} is not for this tool to change: leave it out after --")
    share = utilization if utilization is not None else f"{usual_share(sku, EngineFlags()):g}"
    words = [contract.ARG_GPU_MEMORY_UTILIZATION, share, contract.ARG_MAX_MODEL_LEN, max_model_len]
    words += [contract.ARG_TENSOR_PARALLEL_SIZE, str(tensor)]
    for name, value in {**runtime.engine_arguments, **runtime.single_node_arguments}.items():
        words += [f"--{name}"] if value == "true" else [f"--{name}", value]
    if runtime.accelerator.device is EngineDevice.CPU and "kv_cache_memory_bytes" not in given:
        words += ["--kv-cache-memory-bytes", str(_CPU_KV_BYTES)]
    return [*words, *more]


def start_words(model: str, asked: Sequence[str]) -> list[str]:
    """All words of the engine's command line; of a folder only the config.json is needed."""
    return [contract.ARG_MODEL, model, contract.ARG_LOAD_FORMAT, "dummy", "--skip-tokenizer-init", *asked]


def options_of(words: Sequence[str]) -> Mapping[str, str]:
    """Options by name, with underscores; "true" for one that no value follows."""
    found: dict[str, str] = {}
    for index, word in enumerate(words):
        if not word.startswith("--"):
            continue
        name, equals, value = word.removeprefix("--").partition("=")
        following = next(iter(words[index + 1 : index + 2]), "--")
        found[name.replace("-", "_")] = value if equals else ("true" if following.startswith("--") else following)
    return found
