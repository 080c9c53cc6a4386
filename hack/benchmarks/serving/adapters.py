"""Many adapters known to one engine, few of them in its memory: what it costs to ask one that is not there."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

from local_cluster.folders import REPOSITORY

from benchmarks.serving.load import LoadError
from benchmarks.serving.servers import SETTINGS
from benchmarks.serving.setting import Setting
from inference_server import contract
from kaito_controller.testing import serving

KNOWN: Final = 100
IN_MEMORY: Final = 8
RANK: Final = 8
PAIRS: Final = REPOSITORY / "hack" / "model" / "pairs.py"
CONFIG: Final = f"""training_config:
  LoraConfig: {{r: {RANK}}}
  TrainingArguments: {{num_train_epochs: 1}}
"""
UPDATES: Final = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}


def measure(setting: Setting) -> dict[str, Any]:
    """Load KNOWN adapters into an engine that holds IN_MEMORY of them, then ask each twice, for one token.

    The first answer of each needs its weights brought in, the second does not; a swap is what the first took longer.
    """
    folder = setting.folder
    trained = _trained(setting.python, setting.model, folder)
    flags = (
        *(contract.ARG_ENABLE_LORA, contract.ARG_MAX_LORA_RANK, str(RANK), contract.ARG_MAX_LORAS, "4"),
        *(contract.ARG_MAX_CPU_LORAS, str(IN_MEMORY)),
    )
    started = serving.start(
        *(setting.python, folder / "adapters", contract.ARG_MODEL, str(setting.model), *SETTINGS, *flags),
        more=dict(UPDATES),
    )
    with serving.running(started) as server:
        names = [f"adapter-{number}" for number in range(KNOWN)]
        loads_s = [_load(server, name, trained, folder) for name in names]
        _first_token_s(server, names[0])
        swaps_s, warm_s = [], []
        for name in names:
            cold = _first_token_s(server, name)
            warm_s.append(_first_token_s(server, name))
            swaps_s.append(cold - warm_s[-1])
    return {
        "known": KNOWN,
        "in_memory": IN_MEMORY,
        "load_ms": _spread(loads_s),
        "warm_ms": _spread(warm_s),
        "swap_ms": _spread(swaps_s),
    }


def show(figures: dict[str, Any]) -> None:
    """Print the times of loading, of asking what is in memory, and of bringing in what is not."""
    print(f"{figures['known']} adapters known to one engine, {figures['in_memory']} in its memory")
    for name in ("load_ms", "warm_ms", "swap_ms"):
        told = "  ".join(f"{which} {value:.1f} ms" for which, value in figures[name].items())
        print(f"  {name.removesuffix('_ms'):<18} {told}")


def _trained(python: Path, model: Path, folder: Path) -> Path:
    """An adapter of one step of training: its size and form count here, not what it says."""
    data, output = folder / "data", folder / "adapter"
    data.mkdir()
    (folder / contract.TUNING_CONFIG_FILE_NAME).write_text(CONFIG)
    subprocess.run([python, PAIRS, data / "pairs.parquet"], check=True)
    command: list[str | Path] = [
        *(python, "-m", contract.TUNE_MODULE, contract.TUNE_RUN, contract.ARG_METHOD, "lora"),
        *(contract.ARG_MODEL, model, contract.ARG_MODEL_NAME, "tiny-phi3"),
        *(contract.ARG_CONFIG_FILE, folder / contract.TUNING_CONFIG_FILE_NAME),
        *(contract.ARG_DATA, data, contract.ARG_OUTPUT, output),
    ]
    subprocess.run(command, env=serving.environment(folder), cwd=folder, check=True, capture_output=True)
    return output


def _load(server: serving.Server, name: str, trained: Path, folder: Path) -> float:
    """Each has a folder of its own, as an agent keeps them."""
    own = shutil.copytree(trained, folder / name, ignore=shutil.ignore_patterns(".*"))
    began = time.perf_counter()
    status, answer = server.ask("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(own)})
    if status != 200:  # noqa: PLR2004 - OK
        raise LoadError(f"{name} was not loaded: {answer}")
    return time.perf_counter() - began


def _first_token_s(server: serving.Server, name: str) -> float:
    message = {"role": "user", "content": "What is KAITO?"}
    began = time.perf_counter()
    status, answer = server.ask(
        contract.CHAT_COMPLETIONS_PATH, {"model": name, "messages": [message], "temperature": 0, "max_tokens": 1}
    )
    if status != 200:  # noqa: PLR2004 - OK
        raise LoadError(f"{name} did not answer: {answer}")
    return time.perf_counter() - began


def _spread(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(1000 * one for one in seconds)
    return {
        "p50": round(median(ordered), 2),
        "p99": round(ordered[int(0.99 * len(ordered))], 2),
        "max": round(ordered[-1], 2),
    }
