"""One start: of its processes none is left, and what it told is read whatever it is. Shell scripts stand for vLLM."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from measure_fit.engine_run import Answer, Ended, Start, engine_version, interpreter, run_engine
from measure_fit.problem import MeasureProblem


def script(folder: Path, text: str) -> Path:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def ended(folder: Path, text: str, limit_s: float = 30) -> Ended:
    start = Start(
        python=script(folder, text),
        device="cuda",
        words=("--model", "x"),
        environment={"VLLM_LOGGING_LEVEL": "ERROR"},
        folder=folder,
        log=folder / "log",
        limit_s=limit_s,
    )
    return run_engine(start)


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def gone(pids: list[int]) -> bool:
    """Killed processes are no longer ours to wait for: the system's first process reaps them, in a moment."""
    limit = time.monotonic() + 20
    while any(alive(pid) for pid in pids) and time.monotonic() < limit:
        os.sched_yield()
    return not any(alive(pid) for pid in pids)


def test_the_answer_comes_back_with_the_log(tmp_path: Path):
    found = ended(tmp_path, "echo 'Available KV cache memory: 1.0 GiB'; echo 'measure-fit: {\"kvBlocks\": 7}'; exit 3")
    assert (found.answer, found.code, found.log.kv_space) == (Answer(kv_blocks=7), 3, 2**30)


@pytest.mark.parametrize("told", ["{", "[1]", '{"kvBlocks": -1, "kvSpace": "x", "requested": true}', "1e999"])
def test_an_odd_answer_says_nothing(tmp_path: Path, told: str):
    found = ended(tmp_path, f"echo 'measure-fit: {told}'")
    assert found.answer in {None, Answer()}


def test_what_a_start_leaves_running_is_ended(tmp_path: Path):
    found = ended(tmp_path, "trap '' TERM; sleep 600 & echo pid $! pid $$; exit 0")
    pids = [int(word) for word in found.text.split() if word.isdecimal()]
    assert len(pids) == 2
    assert gone(pids)


def test_a_start_that_takes_too_long_is_ended(tmp_path: Path):
    found = ended(tmp_path, "sleep 600 & echo pid $! pid $$; wait", limit_s=0.5)
    assert found.code is None
    assert gone([int(word) for word in found.text.split() if word.isdecimal()])


def test_processes_of_others_are_left_alone(tmp_path: Path):
    """A neighbour of the same name, started before, lives on."""
    with subprocess.Popen(["sleep", "600"]) as neighbour:
        try:
            ended(tmp_path, "sleep 600 & exit 0")
            assert neighbour.poll() is None
        finally:
            neighbour.kill()


def test_the_engine_sees_neither_our_modules_nor_a_quiet_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", "/ours")
    found = ended(tmp_path, 'echo "[$PYTHONPATH] [$VLLM_LOGGING_LEVEL] [$MEASURE_FIT_DEVICE]"')
    assert found.text == "[] [INFO] [cuda]\n"


def test_an_interpreter_without_vllm_is_named(tmp_path: Path):
    with pytest.raises(MeasureProblem, match="finds no vLLM: name an interpreter that has it with --python"):
        engine_version(Path(sys.executable))
    with pytest.raises(MeasureProblem, match="is no program"):
        interpreter(tmp_path / "none")


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "log").mkdir()
    with pytest.raises(MeasureProblem, match="name another with --log"):
        ended(tmp_path, "exit 0")
