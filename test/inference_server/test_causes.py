"""The causes in texts as the programs themselves wrote them: vLLM 0.32 on a CPU, and reports of GPUs where named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from inference_server import contract
from inference_server.serve.causes import RULES, End, cause
from inference_server.serve.output import Complaints

SECOND_HAND = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
MEMORY = contract.EXIT_MEMORY
CODES = {
    "memory": MEMORY,
    "model": contract.EXIT_MODEL,
    "usage": contract.EXIT_USAGE,
    "engine": contract.EXIT_ENGINE,
    "unavailable": contract.EXIT_UNAVAILABLE,
}
SHARED_MEMORY = "64 MiB, 0 MiB free"
ENDS = yaml.safe_load((Path(__file__).parent / "data/engine_ends.yaml").read_text())


def told(lines: str, last: str = SECOND_HAND, **end: int | str) -> tuple[int, str]:
    """The cause that is found in these lines of the log."""
    complaints = Complaints()
    complaints.feed(lines.encode())
    complaints.end()
    found = cause(End(**{"code": contract.EXIT_ENGINE, "complaints": tuple(complaints.kept), **end}), last)
    return found.code, found.text


@pytest.mark.parametrize("one", ENDS, ids=lambda one: one["told"][:40])
def test_what_was_written_tells_the_cause(one: dict[str, str]):
    """Field, what was found and what to do, in one line, with the exit code for its kind."""
    code, text = told(one.get("log", ""), one.get("last", SECOND_HAND), shared_memory=SHARED_MEMORY)
    assert code == CODES[one["code"]]
    assert text.startswith(one["told"])
    assert "\n" not in text


def test_a_killed_engine_is_told_from_its_exit_code():
    """The serving process notes how the engine ended: by SIGBUS where /dev/shm is full, by SIGKILL where memory is."""
    last = SECOND_HAND.replace("{}", "{'EngineCore': -%d}")
    code, text = told("", last % 7, shared_memory=SHARED_MEMORY)
    assert code == MEMORY
    assert text.startswith(
        f"{contract.SHARED_MEMORY_DIRECTORY} ({SHARED_MEMORY}): an engine process ended with a bus error"
    )
    assert told("", last % 9)[0] == contract.EXIT_ENGINE
    assert told("", last % 9, oom_kills=1)[0] == MEMORY
    assert told("", last % 9, oom_kills=1)[1].startswith("memory of the host: the kernel ended a process")


def test_an_unknown_error_of_the_engine_is_told_as_it_is():
    """The first error of the engine's own process, not those that follow from it."""
    lines = (
        "(APIServer pid=1) ERROR 05-05 12:36:59 [serving.py:1] ValueError: of a request, hours ago\n"
        "(EngineCore pid=2) ERROR 05-05 12:36:59 [core.py:1] AssertionError: blocks do not add up\n"
        "(APIServer pid=1) ERROR 05-05 12:36:59 [serving.py:1173] vllm.v1.engine.exceptions.EngineDeadError: EngineCore"
        " encountered an issue. See stack trace (above) for the root cause.\n"
    )
    assert told(lines) == (contract.EXIT_ENGINE, "the engine failed: AssertionError: blocks do not add up")


def test_without_any_word_it_says_so():
    assert told("", "") == (contract.EXIT_ENGINE, "the engine died; its own lines above say why")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.what)
def test_no_rule_is_slow_on_a_hostile_line(rule: object):
    """A line of the log is bounded, and no pattern runs away on it."""
    for text in ("ValueError: " + "memory " * 100, "'" * 700, "NCCL WARN " + "shared memory size " * 40):
        rule.pattern.match(text)  # type: ignore[attr-defined]
