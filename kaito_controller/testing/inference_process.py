"""A real inference server in a process of its own on loopback, for tests: start it, ask it, end it."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
from attrs import define

from inference_server import contract
from kaito_controller.catalog.loader import load
from kaito_controller.testing.ports import free_port

# Alone on two cores a start takes half a minute; on a machine that is busy with other tests a multiple.
START_LIMIT_S: Final = 400
ANSWER_LIMIT_S: Final = 120
STOP_LIMIT_S: Final = 60
SUCCESS: Final = 200


@define
class InferenceProcess:
    """A running server: its process, its port and the file that holds what it prints."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def ask(
        self, path: str, body: Any = None, *, method: str | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """One request; the body of the answer decoded when it is JSON. A body of bytes is sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_LIMIT_S)
        try:
            raw = body if body is None or isinstance(body, bytes) else json.dumps(body)
            sent = {**({} if raw is None else {"Content-Type": "application/json"}), **(headers or {})}
            connection.request(method or ("GET" if raw is None else "POST"), path, raw, sent)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        kind = answer.headers.get("content-type") or ""
        return answer.status, json.loads(text) if kind.startswith("application/json") and text else text

    def complete(self, messages: Sequence[Any], **more: Any) -> Any:
        """The first choice of an accepted POST /v1/chat/completions, decoded greedily."""
        status, body = self.ask(contract.CHAT_COMPLETIONS_PATH, {"messages": messages, "temperature": 0, **more})
        assert status == SUCCESS, body
        return body["choices"][0]

    def stream(self, path: str, body: Mapping[str, Any]) -> list[Any]:
        """The events of an accepted streamed answer, up to the `[DONE]` that must end it."""
        status, text = self.ask(path, {**body, "stream": True})
        assert status == SUCCESS, text
        events = [line.removeprefix("data: ") for line in text.splitlines() if line]
        assert events[-1] == "[DONE]", events[-1]
        return [json.loads(event) for event in events[:-1]]

    def wait_until_healthy(self) -> None:
        """Waits for /health; raises at once when the process ends, with the end of its log."""
        limit = time.monotonic() + START_LIMIT_S
        while not self._is_healthy():
            if self.process.poll() is not None or time.monotonic() > limit:
                raise AssertionError(self.log.read_text(errors="replace")[-6000:])
            # Waits for the end of the process, which ends the wait early.
            try:
                self.process.wait(0.25)
            except subprocess.TimeoutExpired:
                continue

    def _is_healthy(self) -> bool:
        try:
            return self.ask(contract.HEALTH_PATH)[0] == SUCCESS
        except OSError:
            return False

    def last_words(self) -> str:
        """The one line in which the server says why it ended."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("inference_server: ended")]
        assert len(lines) == 1, self.log.read_text()[-6000:]
        return lines[0]

    def stop(self) -> int:
        """Ends the process as a kubelet does and returns its exit code; no child of it is left behind."""
        ended = self.process.poll() is not None
        children = [] if ended else psutil.Process(self.process.pid).children(recursive=True)
        self.process.terminate()
        try:
            return self.process.wait(STOP_LIMIT_S)
        finally:
            for child in children:
                if child.is_running():
                    child.kill()
            self.process.kill()
            self.process.wait()
            psutil.wait_procs(children, timeout=STOP_LIMIT_S)


def start(
    python: Path, home: Path, runtime_name: str, arguments: Sequence[str], *, more: Mapping[str, str] | None = None
) -> InferenceProcess:
    """Starts the module of a runtime as its pods do, with `home` for all that it writes and its own `arguments`."""
    root = Path(__file__).resolve().parents[2]
    runtime = load().runtime(runtime_name)
    port = free_port()
    home.mkdir(exist_ok=True)
    flags = {**runtime.engine_arguments, **runtime.single_node_arguments}
    engine = [word for name, value in flags.items() for word in (f"--{name}", *([] if value == "true" else [value]))]
    listen = [contract.ARG_HOST, "127.0.0.1", contract.ARG_PORT, str(port)]
    own = {name: value for name, value in runtime.environment.items() if "{" not in value}
    paths = {"HOME": str(home), "XDG_CACHE_HOME": f"{home}/cache", "HF_HOME": f"{home}/hub", "TMPDIR": str(home)}
    fixed = {"PATH": os.environ["PATH"], "PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    log = home / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [python, *runtime.command[1:], *listen, *engine, *arguments],
            cwd=home,
            env={**own, **fixed, **paths, **(more or {})},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    return InferenceProcess(process=process, port=port, log=log)


@contextmanager
def serving(
    python: Path, home: Path, runtime_name: str, arguments: Sequence[str], *, more: Mapping[str, str] | None = None
) -> Iterator[InferenceProcess]:
    """A server that is healthy inside the block and gone after it."""
    server = start(python, home, runtime_name, arguments, more=more)
    try:
        server.wait_until_healthy()
        yield server
    finally:
        server.stop()
