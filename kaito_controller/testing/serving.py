"""The inference server as a pod runs it: a process of its own on a loopback port, with the real engine."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psutil
from attrs import define

from inference_server import contract
from kaito_controller.catalog.loader import load
from kaito_controller.testing.ports import free_port

ROOT: Final = Path(__file__).resolve().parents[2]
RUNTIME: Final = "vllm-cpu-host"
# Alone on two cores a start takes half a minute; on a machine that is busy with other tests a multiple.
START_LIMIT_S: Final = 400
STOP_LIMIT_S: Final = 60
ANSWER_LIMIT_S: Final = 180
LAST_WORDS: Final = "inference_server: ended"


@define
class Server:
    """A running server: its process, its port and its log."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def connect(self, source: str = "127.0.0.1", timeout_s: float = ANSWER_LIMIT_S) -> http.client.HTTPConnection:
        """A connection from an address of this machine: any of 127.0.0.0/8."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s, source_address=(source, 0))

    def ask(
        self,
        path: str,
        body: Any = None,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        source: str = "127.0.0.1",
    ) -> tuple[int, Any]:
        """One request; the body of the answer decoded when it is JSON. A body of bytes is sent as it is."""
        connection = self.connect(source)
        try:
            raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            sent = {"Content-Type": "application/json"} if raw is not None else {}
            connection.request(method or ("POST" if raw is not None else "GET"), path, raw, {**sent, **(headers or {})})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        kind = answer.headers.get("content-type") or ""
        return answer.status, json.loads(text) if kind.startswith("application/json") and text else text

    def chat(self, prompt: str, **more: Any) -> Any:
        """The body of an accepted POST /chat."""
        status, body = self.ask(contract.CHAT_PATH, {"prompt": prompt, **more})
        assert status == http.HTTPStatus.OK, body
        return body

    def complete(self, messages: Sequence[Any], **more: Any) -> Any:
        """The first choice of an accepted POST /v1/chat/completions, decoded greedily."""
        status, body = self.ask(contract.CHAT_COMPLETIONS_PATH, {"messages": messages, "temperature": 0, **more})
        assert status == http.HTTPStatus.OK, body
        return body["choices"][0]

    def stream(self, path: str, body: Mapping[str, Any]) -> list[Any]:
        """The events of an accepted streamed answer, up to the `[DONE]` that must end it."""
        status, text = self.ask(path, {**body, "stream": True})
        assert status == http.HTTPStatus.OK, text
        events = [line.removeprefix("data: ") for line in text.splitlines() if line]
        assert events[-1] == "[DONE]", events[-1]
        return [json.loads(event) for event in events[:-1]]

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels; 0 when it is not told."""
        lines = str(self.ask(contract.METRICS_PATH)[1]).splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))

    def wait_until_healthy(self) -> None:
        """Waits for /health, failing at once when the process ends."""
        until(lambda: self.ask(contract.HEALTH_PATH)[0] == http.HTTPStatus.OK, START_LIMIT_S, self)

    def tail(self) -> str:
        """The end of the log."""
        return self.log.read_text(errors="replace")[-4000:]

    def last_words(self) -> str:
        """The line in which the server says why it ended."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.startswith(LAST_WORDS)]
        assert len(lines) == 1, self.tail()
        return lines[0]

    def descendants(self) -> list[psutil.Process]:
        """Every process below the server."""
        return psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []

    def stop(self) -> int:
        """Ends the process as a kubelet does; afterwards neither it nor a child of it is there."""
        children = self.descendants()
        self.process.terminate()
        try:
            code = self.process.wait(STOP_LIMIT_S)
        finally:
            for process in children:
                if process.is_running():
                    process.kill()
            self.process.kill()
            self.process.wait()
        psutil.wait_procs(children, timeout=30)
        assert not [process for process in children if process.is_running()]
        return code


def environment(home: Path, runtime_name: str = RUNTIME) -> dict[str, str]:
    """What the runtime gives its pods, with a folder of this test for what they write."""
    runtime = load().runtime(runtime_name).environment
    own = {name: value for name, value in runtime.items() if "{" not in value}
    paths = {"HOME": home, "XDG_CACHE_HOME": home / "cache", "HF_HOME": home / "hub", "TMPDIR": home}
    fixed = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        # Two threads spin while they wait for each other; on a busy machine an answer then takes seconds.
        "OMP_NUM_THREADS": "1",
        # Sockets are named below the folder that it runs in: their paths end at 107 characters, and a test's are long.
        "VLLM_RPC_BASE_PATH": ".",
    }
    return {**own, **fixed, **{name: str(path) for name, path in paths.items()}}


def listening(port: int, runtime_name: str = RUNTIME) -> list[str]:
    """The flags that the runtime gives on one node, and those that make the server listen on loopback."""
    runtime = load().runtime(runtime_name)
    flags = {**runtime.engine_arguments, **runtime.single_node_arguments}
    engine = [word for name, value in flags.items() for word in (f"--{name}", *([] if value == "true" else [value]))]
    return [contract.ARG_HOST, "127.0.0.1", contract.ARG_PORT, str(port), *engine]


def start(
    python: Path,
    home: Path,
    *arguments: str,
    runtime_name: str = RUNTIME,
    more: Mapping[str, str | None] | None = None,
    port: int | None = None,
) -> Server:
    """Starts the module of a runtime with the runtime's own flags and these arguments.

    `more` is environment; None takes a variable away.
    """
    port = port or free_port()
    # The interpreter in front is the pod's; here it is that of the environment in the cache.
    command = [str(python), *load().runtime(runtime_name).command[1:], *listening(port, runtime_name), *arguments]
    given = {**environment(home, runtime_name), **(more or {})}
    return launch(command, home, {name: value for name, value in given.items() if value is not None}, port)


def start_agent(
    python: Path, home: Path, *arguments: str, more: Mapping[str, str] | None = None, port: int | None = None
) -> Server:
    """Starts the agent, as the container beside the engine; `more` is environment."""
    port = port or free_port()
    address = (contract.ARG_HOST, "127.0.0.1", contract.ARG_PORT, str(port))
    command = [str(python), "-m", contract.AGENT_MODULE, *address, *arguments]
    return launch(command, home, {**environment(home), **(more or {})}, port)


def launch(command: Sequence[str], home: Path, variables: Mapping[str, str], port: int) -> Server:
    """Starts a command that serves on that port of loopback; its log lies in `home`, where it runs."""
    home.mkdir(exist_ok=True)
    log = home / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=home, env=variables, stdout=file, stderr=subprocess.STDOUT)
    return Server(process=process, port=port, log=log)


def until(holds: Callable[[], bool], limit_s: float, *servers: Server) -> float:
    """Waits for something of these servers and returns the seconds that it took; who is not reached is asked again.

    Fails with their last words when it takes longer, and at once when one of them ends.
    """
    began = time.monotonic()
    while True:
        with suppress(OSError):
            if holds():
                return time.monotonic() - began
        assert all(server.process.poll() is None for server in servers), _last_words(servers)
        assert time.monotonic() - began < limit_s, _last_words(servers)
        # Waits for the end of the process, which ends the wait early.
        with suppress(subprocess.TimeoutExpired):
            servers[0].process.wait(0.1)


def _last_words(servers: Sequence[Server]) -> str:
    return "\n".join(server.tail() for server in servers)


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """The server, healthy; ended afterwards if it still runs."""
    try:
        server.wait_until_healthy()
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()
