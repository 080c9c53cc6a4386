"""The parts of one model on several nodes."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest

from inference_server import contract
from inference_server.serve.rank import as_ranked


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        port: int = listener.getsockname()[1]
        return port


def status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("words", [["--port", "5000"], ["--port", "5000", "--node-rank", "0"]])
def test_the_first_part_serves_the_api(words: list[str]):
    """Alone, or as rank 0 of several, the arguments stay as they are."""
    with as_ranked(words) as own:
        assert own == words


def test_a_further_part_has_no_api_and_answers_its_probes():
    """Beyond rank 0 vLLM is told to open no API; /health answers on the same port while it runs, and not after."""
    port = free_port()
    words = [contract.ARG_PORT, str(port), contract.ARG_NODE_RANK, "1"]

    with as_ranked(words) as own:
        assert own == [*words, "--headless"]
        assert status(port, "/health") == 200
        assert status(port, "/v1/models") == 404

    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)


def test_a_further_part_ends_its_answers_when_the_engine_fails():
    """A part whose engine raised is not reported healthy."""
    port = free_port()

    def serve() -> None:
        with as_ranked([contract.ARG_PORT, str(port), contract.ARG_NODE_RANK, "3"]):
            raise RuntimeError("the engine is gone")

    with pytest.raises(RuntimeError, match="the engine is gone"):
        serve()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
