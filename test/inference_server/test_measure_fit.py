"""`hack/measure-fit` with a real engine, on the CPU: what it prints and keeps is what vLLM itself found."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from kaito_controller.testing.tiny_configs import CONFIGS

ROOT = Path(__file__).resolve().parents[2]
# Alone on two cores a start takes half a minute; on a machine that is busy with other tests a multiple.
LIMIT_S = 400
pytestmark = [pytest.mark.slow, pytest.mark.timeout(LIMIT_S)]

SPACE = 40_000_000
# Five layers of two KV heads of 32 numbers, keys and values, 2 bytes each, blocks of 128 tokens on a CPU.
BLOCK = 5 * 2 * 32 * 2 * 2 * 128
# One block is never given out, and a request of the longest context takes all others.
BLOCKS = SPACE // BLOCK
LENGTH = (BLOCKS - 1) * 128
TOKENS = BLOCKS * 128


def test_tokens_blocks_and_context_are_those_of_the_engine(tmp_path: Path, inference_python: Path):
    config, data, log = (tmp_path / name for name in ("config.json", "fits.jsonl", "engine.log"))
    config.write_text(json.dumps(CONFIGS["grouped, five layers"]))
    command = [
        "hack/measure-fit", "--device", "cpu", "--python", inference_python, "--config", config, "--data", data,
        "--log", log, "--timeout", str(LIMIT_S - 60), "--", "--kv-cache-memory-bytes", str(SPACE),
    ]  # fmt: skip
    environment = {**os.environ, "VLLM_CACHE_ROOT": str(tmp_path / "cache")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + (log.read_text()[-4000:] if log.exists() else "")

    (line,) = (json.loads(text) for text in data.read_text().splitlines())
    figures = {"kvBlocks": BLOCKS, "kvTokens": TOKENS, "maxModelLen": LENGTH}
    assert line["measured"] == {"kvSpace": SPACE, **figures}
    assert line["predictedInEngineSpace"] == figures
    assert (line["vllm"], line["gpu"]["name"], line["failure"]) == ("0.32.0", "CPU", None)

    printed = [row.split() for row in done.stdout.splitlines()]
    assert ["KV", "tokens", f"{TOKENS:,}", f"{TOKENS:,}", "exact"] in printed
    assert ["KV", "blocks", f"{BLOCKS:,}", f"{BLOCKS:,}", "exact"] in printed
    assert ["longest", "context", f"{LENGTH:,}", f"{LENGTH:,}", "exact"] in printed
