"""The agent as a process: how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from inference_server import contract, ending
from inference_server.agent import __main__ as agent

# Far below the minutes for which a registry is waited for, far above what a busy machine takes to end a process.
END_LIMIT_S = 45
START_LIMIT_S = 120


@pytest.fixture
def termination_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "termination-log"
    path.touch()
    monkeypatch.setattr(ending, "TERMINATION_LOG", path)
    return path


def test_a_registry_that_answers_nothing_held_the_pod_until_it_was_killed(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as registry:
        registry.settimeout(START_LIMIT_S)
        image = f"127.0.0.1:{registry.getsockname()[1]}/any:1"
        listed = tmp_path / "adapters.json"
        listed.write_text(json.dumps({"adapters": [{"name": "a", "image": image}]}))
        words = ["--wanted", str(listed), "--cache", str(tmp_path / "cache"), "--secrets", str(tmp_path / "secrets")]
        words += ["--host", "127.0.0.1", "--port", "0", "--engine", "http://127.0.0.1:1"]
        with subprocess.Popen([sys.executable, "-m", contract.AGENT_MODULE, *words]) as process:
            try:
                asked, _ = registry.accept()
                process.send_signal(signal.SIGTERM)
                assert process.wait(END_LIMIT_S) == contract.EXIT_OK
                asked.close()
            finally:
                process.kill()


def test_a_mistake_is_the_termination_message(termination_log: Path, capsys: pytest.CaptureFixture[str]):
    assert agent.main(["--wnted", "x"]) == contract.EXIT_USAGE
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "--wnted" in told
    assert termination_log.read_text() == told
