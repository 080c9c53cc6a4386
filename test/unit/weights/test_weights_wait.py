"""The server's wait for its agent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from inference_server import contract
from inference_server.refusal import InputError
from inference_server.serve import weights

FETCHING = {"state": "Fetching", "bytesDone": 5, "bytesTotal": 8}


def wait_for(clock: Any, answers: Callable[[], Mapping[str, Any]]) -> tuple[weights.Wait, list[str]]:
    told: list[str] = []
    seconds = weights.Clock(monotonic=clock.monotonic, sleep=clock.sleep)
    return weights.Wait(ask=answers, tell=told.append, clock=seconds), told


def test_the_folder_is_that_of_the_agent(clock: Any):
    """Told every so often until it is there."""
    answers = iter([FETCHING] * 100 + [{"state": "Ready", "folder": "/w/model"}])
    wait, told = wait_for(clock, lambda: next(answers))

    assert wait.folder() == "/w/model"
    assert told[0] == "waiting for the weights: 5 B of 8 B"
    assert len(told) == 4


def test_a_failed_agent_ends_the_server_with_its_message_and_code(clock: Any):
    """So that the pod's termination message says what to do."""
    wait, _ = wait_for(clock, lambda: {"state": "Failed", "message": "hub: no; do this", "exitCode": 69})

    with pytest.raises(InputError, match="hub: no; do this") as caught:
        wait.folder()
    assert caught.value.exit_code == 69


def test_an_agent_that_never_answers_is_given_up(clock: Any):
    """After two minutes, with what was found."""

    def nobody() -> Mapping[str, Any]:
        raise ConnectionRefusedError("nobody listens")

    wait, _ = wait_for(clock, nobody)

    with pytest.raises(InputError, match="nobody listens") as caught:
        wait.folder()
    assert caught.value.exit_code == contract.EXIT_UNAVAILABLE
    assert clock.now == pytest.approx(1000 + weights.SILENCE_LIMIT_S, abs=2)


def test_an_agent_that_restarts_is_waited_for(clock: Any):
    """A minute of silence in the middle is no end."""
    script = iter([FETCHING, *[None] * 120, FETCHING, {"state": "Ready", "folder": "/w"}])

    def answers() -> Mapping[str, Any]:
        found = next(script)
        if found is None:
            raise ConnectionRefusedError
        return found

    wait, _ = wait_for(clock, answers)

    assert wait.folder() == "/w"


def test_a_download_that_stands_still_is_given_up(clock: Any):
    """With the agent's last words."""
    wait, _ = wait_for(clock, lambda: {**FETCHING, "message": "hub: away; it is tried again in 60 s"})

    with pytest.raises(InputError, match="hub: away") as caught:
        wait.folder()
    assert caught.value.exit_code == contract.EXIT_UNAVAILABLE


def test_a_slow_download_is_not_given_up(clock: Any):
    """However long it takes: the kubelet's startup probe is the bound."""
    counts = iter(range(20_000))

    def answers() -> Mapping[str, Any]:
        count = next(counts)
        return {"state": "Ready", "folder": "/w"} if count == 10_000 else {**FETCHING, "bytesDone": count}

    wait, _ = wait_for(clock, answers)

    assert wait.folder() == "/w"


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == contract.REPORT_PATH else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_the_report_is_read_over_loopback():
    """The part `weights` of it."""
    with answering(json.dumps({"adapters": [], "weights": FETCHING}).encode()) as url:
        assert weights.loopback(url)() == FETCHING


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"weights": 5}', b"x" * 200_000])
def test_a_report_that_is_none_is_as_good_as_silence(body: bytes, clock: Any):
    """Whatever it is, the server ends with a line, not with a trace."""
    with answering(body) as url:
        wait, _ = wait_for(clock, weights.loopback(url))
        with pytest.raises(InputError, match="the agent beside this server answers"):
            wait.folder()
