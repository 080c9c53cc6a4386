from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference_server import contract, ending
from inference_server.tune import __main__ as tune


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def termination_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "termination-log"
    path.touch()
    monkeypatch.setattr(ending, "TERMINATION_LOG", path)
    return path


def test_a_mistake_is_the_last_line_and_the_termination_message(termination_log, capsys, tmp_path):
    assert tune.main(["run", "--model", str(tmp_path), "--metod", "lora"]) == contract.EXIT_USAGE
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("inference_server: ended (2): ")
    assert "--metod" in told
    assert told in termination_log.read_text()


def test_an_output_that_cannot_be_written_is_told(termination_log, tmp_path):
    (tmp_path / "file").write_text("")
    words = ["run", "--model", str(tmp_path), "--output", str(tmp_path / "file" / "results")]
    assert tune.main(words) == contract.EXIT_OUTPUT
    assert "a folder to write to, found Not a directory; look at the volume" in termination_log.read_text()


def test_a_secret_that_is_not_there_is_told_before_anything_is_trained(termination_log, tmp_path):
    words = ["run", "--model", str(tmp_path), "--output", str(tmp_path / "results"), "--host", "127.0.0.1"]
    words += ["--port", "0", "--output-image", "example.com/x:1", "--push-secret", "p", "--secrets", str(tmp_path)]
    assert tune.main(words) == contract.EXIT_OUTPUT
    assert "output image" in termination_log.read_text()
    assert not (tmp_path / "results" / "adapter_config.json").exists()
