"""From the command line to the table and the data file, for a GPU that is not here: a shell script stands for vLLM."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from measure_fit.main import main

from kaito_controller.testing.tiny_configs import CONFIGS

ROOT = Path(__file__).resolve().parents[3]
STARTED = (
    "Model loading took 0.01 GiB memory and 1.0 seconds",
    "Estimated CUDA graph memory: 0.03 GiB total",
    "CUDA graph memory profiling is enabled (default since v0.21.0).",
    "Available KV cache memory: 11.5 GiB",
    "GPU KV cache size: 4,821,280 tokens, Maximum concurrency for 65,536 tokens per request: 73.57x",
    'measure-fit: {"kvSpace": 12348030976, "kvBlocks": 301465, "maxModelLen": 65536, "requested": 13303808000}',
)


def words(folder: Path, *lines: str, then: str = "exit 0") -> list[str]:
    """The command line of a start that writes these lines."""
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text(json.dumps(CONFIGS["multi-head"]))
    (folder / "lines").write_text("".join(f"{line}\n" for line in lines))
    script = folder / "python"
    script.write_text(f"#!/bin/sh\n[ $1 != -c ] || {{ echo 0.32.0; exit 0; }}\ncat {folder}/lines\n{then}\n")
    script.chmod(0o755)
    asked = {"--config": folder / "model", "--python": script, "--data": folder / "data", "--log": folder / "log"}
    return ["--gpu", "t4", *(str(word) for pair in asked.items() for word in pair)]


def test_a_gpus_figures_are_compared_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([*words(tmp_path, *STARTED), "--", "--max-num-seqs", "16"]) == 0
    printed = [" ".join(row.split()) for row in capsys.readouterr().out.splitlines()]
    assert printed[0] == "LlamaForCausalLM on NVIDIA T4, vLLM 0.32.0"
    (own,) = (at for at, row in enumerate(printed) if row.startswith("in the engine's own KV space"))
    names = ["memory that a process sees", "weights", "CUDA graphs", "everything else", "KV cache space", "KV blocks"]
    assert all(any(row.startswith(name) for row in printed[:own]) for name in names)
    assert "longest context 65,536 65,536 exact" in printed[:own]
    line = json.loads((tmp_path / "data").read_text())
    assert line["flags"][-2:] == ["--max-num-seqs", "16"]
    assert line["predicted"]["sequences"] == 16
    assert (line["measured"]["kvTokens"], line["measured"]["kvBlocks"]) == (4_821_280, 301_465)


def test_out_of_memory_is_told_in_one_sentence_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(words(tmp_path, "torch.OutOfMemoryError: CUDA out of memory.", then="exit 1")) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("measure-fit: the engine did not start: the GPU ran out of memory")
    line = json.loads((tmp_path / "data").read_text())
    assert (line["measured"], line["predicted"]["fits"]) == (None, True)
    assert line["failure"].startswith("the GPU ran out of memory")


def test_other_failures_are_no_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(words(tmp_path, "RuntimeError: No CUDA GPUs are available", then="exit 1")) == 1
    assert "the engine sees no GPU" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
    assert (tmp_path / "log").read_text() == "RuntimeError: No CUDA GPUs are available\n"


def test_a_tool_that_is_ended_takes_the_engine_along(tmp_path: Path):
    asked = words(tmp_path, then="echo $$; exec sleep 600")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'hack'}"}
    with subprocess.Popen([sys.executable, "-m", "measure_fit.main", *asked], env=environment) as tool:
        engine = started(tmp_path / "log")
        assert Path(f"/proc/{engine}").exists()
        tool.terminate()
        assert tool.wait(60) == 128 + 15
    # The tool waited for the engine, which was its child: nothing of it is left.
    assert not Path(f"/proc/{engine}").exists()


def started(log: Path) -> int:
    """The engine's id, once it has written it."""
    limit = time.monotonic() + 60
    while not (log.exists() and log.read_text().endswith("\n")):
        assert time.monotonic() < limit
        os.sched_yield()
    return int(log.read_text())
