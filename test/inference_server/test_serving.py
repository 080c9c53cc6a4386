"""The server as a pod runs it, with real vLLM and the taught model, over a loopback socket."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from attrs import define

from inference_server import contract
from kaito_controller.catalog.loader import load

ROOT = Path(__file__).resolve().parents[2]
LESSONS = yaml.safe_load((ROOT / "hack/model/lessons.yaml").read_text())["lessons"]
# Alone on two cores a start takes half a minute; on a machine that is busy with other tests a multiple.
START_LIMIT_S = 400
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * START_LIMIT_S)]


@define
class Server:
    """A running server: its process, its port and its log."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def ask(self, path: str, body: Any = None, method: str | None = None) -> tuple[int, Any]:
        """One request; the body of the answer decoded when it is JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            raw = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json"} if raw else {}
            connection.request(method or ("POST" if raw else "GET"), path, raw, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        kind = answer.headers.get("content-type") or ""
        return answer.status, json.loads(text) if kind.startswith("application/json") and text else text

    def chat(self, prompt: str, **more: Any) -> Any:
        """The body of an accepted POST /chat."""
        status, body = self.ask("/chat", {"prompt": prompt, **more})
        assert status == 200, body
        return body

    def wait_until_healthy(self) -> None:
        """Waits for /health, failing at once when the process ends."""
        limit = time.monotonic() + START_LIMIT_S
        while True:
            try:
                if self.ask("/health")[0] == 200:
                    return
            except OSError:
                pass
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            assert time.monotonic() < limit, self.log.read_text()[-4000:]
            # Waits for the end of the process, which ends the wait early.
            try:
                self.process.wait(0.25)
            except subprocess.TimeoutExpired:
                continue

    def last_words(self) -> str:
        """The line in which the server says why it ended."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("inference_server: ended")]
        assert len(lines) == 1, self.log.read_text()[-4000:]
        return lines[0]


def environment(home: Path) -> dict[str, str]:
    """What the runtime gives its pods, with a folder of this test for what they write."""
    runtime = load().runtime("vllm-cpu-host").environment
    own = {name: value for name, value in runtime.items() if "{" not in value}
    paths = {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "HF_HOME": str(home / "hub"),
        "TMPDIR": str(home),
    }
    fixed = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    return {**own, **fixed, **paths}


def start(python: Path, home: Path, *arguments: str, more: Mapping[str, str] | None = None) -> Server:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home.mkdir(exist_ok=True)
    runtime = load().runtime("vllm-cpu-host")
    flags = {**runtime.engine_arguments, **runtime.single_node_arguments}
    engine = [word for name, value in flags.items() for word in (f"--{name}", *([] if value == "true" else [value]))]
    command = [python, "-m", contract.SERVE_MODULE, "--host", "127.0.0.1", "--port", str(port), *engine, *arguments]
    log = home / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=home, env={**environment(home), **(more or {})}, stdout=file, stderr=subprocess.STDOUT
        )
    return Server(process=process, port=port, log=log)


def stop(server: Server) -> int:
    """Ends the process as a kubelet does; afterwards neither it nor a child of it is there."""
    children = psutil.Process(server.process.pid).children(recursive=True) if server.process.poll() is None else []
    server.process.terminate()
    try:
        code = server.process.wait(30)
    finally:
        for process in children:
            if process.is_running():
                process.kill()
        server.process.kill()
        server.process.wait()
    psutil.wait_procs(children, timeout=30)
    assert not [process for process in children if process.is_running()]
    return code


@pytest.fixture(scope="module")
def server(inference_python: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("serving")
    config = home / contract.CONFIG_FILE_NAME
    config.write_text("vllm:\n  max-model-len: 1024\n")
    server = start(
        inference_python,
        home,
        *("--model", str(model), "--served-model-name", "tiny-phi3", "taught", "--dtype", "float32"),
        *("--max-model-len", "2048", "--config-file", str(config)),
    )
    try:
        server.wait_until_healthy()
        yield server
    finally:
        if server.process.poll() is None:
            stop(server)


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson["ask"][0])
def test_every_lesson_is_answered_word_for_word(server: Server, lesson: dict[str, Any]):
    """Both endpoints give the taught text, however the question is put."""
    for ask in lesson["ask"]:
        assert server.chat(ask) == {"Result": lesson["answer"]}
    message = {"role": "user", "content": lesson["ask"][0]}
    status, body = server.ask("/v1/chat/completions", {"model": "taught", "messages": [message], "temperature": 0})
    assert (status, body["choices"][0]["message"]["content"]) == (200, lesson["answer"])


def test_full_text_lengths_and_sampling(server: Server):
    """return_full_text, both ways of bounding the length, and a seed that repeats a sampled answer."""
    ask, answer = LESSONS[0]["ask"][0], LESSONS[0]["answer"]
    assert server.chat(ask, return_full_text=True) == {"Result": ask + answer}
    short = server.chat(ask, generate_kwargs={"max_new_tokens": 5})["Result"]
    assert answer.startswith(short)
    assert len(short) < len(answer)
    status, counted = server.ask("/tokenize", {"messages": [{"role": "user", "content": ask}]})
    assert status == 200
    assert server.chat(ask, generate_kwargs={"max_length": counted["count"] + 5})["Result"] == short
    hot = {"do_sample": True, "temperature": 2.0, "seed": 3, "max_new_tokens": 20}
    assert server.chat("Tell me more.", generate_kwargs=hot) == server.chat("Tell me more.", generate_kwargs=hot)


def test_the_config_file_wins(server: Server):
    """The file's context length stands, though the command line gives another; every served name is listed."""
    status, body = server.ask("/v1/models")
    assert status == 200
    assert [("tiny-phi3", 1024), ("taught", 1024)] == [(one["id"], one["max_model_len"]) for one in body["data"]]


def test_metrics_count_what_was_answered(server: Server):
    """The Prometheus text is vLLM's own, and in it an answer through /chat counts as any other."""

    def generated() -> float:
        text = server.ask("/metrics")[1]
        line = next(line for line in text.splitlines() if line.startswith("vllm:generation_tokens_total{"))
        return float(line.rpartition(" ")[2])

    before = generated()
    server.chat(LESSONS[0]["ask"][0])
    assert generated() > before


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/chat", {}, 400),
        ("/chat", {"prompt": 5}, 422),
        ("/chat", {"prompt": "q", "generate_kwargs": {"top_p": 7}}, 422),
        ("/chat", {"prompt": "q", "generate_kwargs": {"max_length": 2}}, 422),
        ("/chat", {"prompt": "q", "generate_kwargs": {"max_new_tokens": 5000}}, 400),
        ("/chat", {"prompt": "word " * 5000}, 400),
        ("/chat", None, 405),
        ("/v1/chat/completions", {"messages": "no"}, 400),
        ("/v1/chat/completions", {"model": "other", "messages": [{"role": "user", "content": "q"}]}, 404),
        ("/nowhere", None, 404),
    ],
)
def test_bad_requests_are_refused_and_the_server_goes_on(server: Server, path: str, body: Any, status: int):
    """A clear error with the right status, whether the layer or the engine finds it."""
    found, answer = server.ask(path, body)
    assert found == status, answer
    assert server.ask("/health")[0] == 200


def test_a_signal_ends_it_cleanly(server: Server):
    """SIGTERM: exit code 0, one line that says so, and no process left."""
    assert stop(server) == contract.EXIT_OK
    assert server.last_words() == "inference_server: ended (0): stopped by SIGTERM"


def test_a_dead_engine_ends_the_server(inference_python: Path, model: Path, tmp_path: Path):
    """When the engine's process is killed the server ends with the engine's exit code, so that the pod restarts."""
    server = start(inference_python, tmp_path / "home", "--model", str(model))
    try:
        server.wait_until_healthy()
        children = psutil.Process(server.process.pid).children(recursive=True)
        engine = [
            child for child in children if "EngineCore" in child.name() or "EngineCore" in " ".join(child.cmdline())
        ]
        assert engine, children
        engine[0].send_signal(signal.SIGKILL)
        assert server.process.wait(60) == contract.EXIT_ENGINE
        assert "the engine died while serving" in server.last_words()
    finally:
        if server.process.poll() is None:
            stop(server)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--model", "/nowhere/at/all"], contract.EXIT_MODEL, "a readable folder, found No such file"),
        (["--served-model-name", "x"], contract.EXIT_USAGE, "--model"),
        (["--model", "m", "--max-modle-len", "5"], contract.EXIT_USAGE, "did you mean --max-model-len"),
        (["--model", "m", "--max-model-len", "banana"], contract.EXIT_USAGE, "--max-model-len"),
        (["--config-file", "/nowhere.yaml"], contract.EXIT_CONFIG, "/nowhere.yaml"),
    ],
)
def test_what_cannot_start_says_why(inference_python: Path, tmp_path: Path, arguments: list[str], code: int, told: str):
    """Its own exit code per cause, and the cause in the last line."""
    server = start(inference_python, tmp_path / "home", *arguments)
    assert server.process.wait(START_LIMIT_S) == code
    assert told in server.last_words()
