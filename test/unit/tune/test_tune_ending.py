"""The termination message: the cause for people, and after a good end the last report for the operator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inference_server import ending

REPORT = json.dumps({"state": "Succeeded", "output": "registry.example.com/a:1@sha256:ab"})


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "termination-log"
    path.touch()
    monkeypatch.setattr(ending, "TERMINATION_LOG", path)
    return path


def test_the_cause_alone_is_one_line(log: Path, capsys: pytest.CaptureFixture[str]):
    """As after every failure."""
    ending.tell("ended (65):\na broken line")

    assert log.read_text() == "ended (65): a broken line"
    assert capsys.readouterr().err == "ended (65): a broken line\n"


def test_a_report_is_the_last_line_of_the_message_and_not_of_the_log(log: Path, capsys: pytest.CaptureFixture[str]):
    """Whoever reads the log reads the cause last; whoever reads the message finds the report whole."""
    ending.tell("ended (0): trained" + "!" * ending.MAX_BYTES, report=REPORT)

    raw = log.read_bytes()
    assert len(raw) == ending.MAX_BYTES
    assert json.loads(raw.splitlines()[-1])["output"] == "registry.example.com/a:1@sha256:ab"
    assert REPORT not in capsys.readouterr().err


def test_a_report_that_is_too_long_gives_way(log: Path):
    """Half a report is none."""
    ending.tell("ended (0): trained", report="x" * ending.MAX_BYTES)

    assert log.read_text() == "ended (0): trained"


def test_a_message_that_is_cut_ended_in_half_a_letter(log: Path):
    ending.tell("é" * ending.MAX_BYTES)
    assert set(log.read_text(encoding="utf-8")) == {"é"}
    ending.tell("é" * ending.MAX_BYTES, report=REPORT)
    assert json.loads(log.read_text(encoding="utf-8").splitlines()[-1]) == json.loads(REPORT)
