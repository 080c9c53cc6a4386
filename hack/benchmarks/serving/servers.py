"""Servers on loopback with equal settings: vLLM's own command, and ours."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from local_cluster.folders import REPOSITORY

from inference_server import contract
from kaito_controller.catalog.loader import load
from kaito_controller.testing.ports import free_port

PLAIN: Final = Path(__file__).with_name("plain_vllm.py")
RUNTIME: Final = "vllm-cpu-host"
START_LIMIT_S: Final = 300.0
END_LIMIT_S: Final = 30.0
SERVED_NAME: Final = "tiny-phi3"


class ServerError(Exception):
    """A server did not come up; the message has its last words."""


@contextmanager
def server(
    python: Path, model: Path, folder: Path, *, ours: bool, more: Sequence[str] = (), variables: Mapping[str, str] = {}
) -> Iterator[int]:
    """The port of a server that is ready, with the flags and variables of the catalogue's runtime for the CPU.

    Ours is `python -m inference_server.serve`, the peer `vllm serve`. It ends with the context.
    """
    port = free_port()
    log = folder / f"{'ours' if ours else 'vllm'}-{port}.log"
    start = ["-m", contract.SERVE_MODULE, contract.ARG_MODEL, str(model)] if ours else [str(PLAIN), "serve", str(model)]
    with log.open("wb") as said:
        process = subprocess.Popen(
            [str(python), *start, *_flags(port), *more],
            cwd=folder,
            env={**_environment(folder), **variables},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_healthy(process, port, log)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _flags(port: int) -> list[str]:
    runtime = load().runtime(RUNTIME)
    fixed = {
        contract.ARG_HOST: "127.0.0.1",
        contract.ARG_PORT: str(port),
        contract.ARG_SERVED_MODEL_NAME: SERVED_NAME,
        contract.ARG_DTYPE: "float32",
        contract.ARG_MAX_MODEL_LEN: "1024",
        contract.ARG_LOAD_FORMAT: "safetensors",
    }
    options = {**runtime.engine_arguments, **runtime.single_node_arguments}
    flags = [word for name, value in fixed.items() for word in (name, value)]
    return [
        *flags,
        *(word for name, value in options.items() for word in (f"--{name}", *(() if value == "true" else (value,)))),
    ]


def _environment(folder: Path) -> dict[str, str]:
    """The runtime's variables; every path that something is written to lies in the folder of this run."""
    plain = {name: value for name, value in load().runtime(RUNTIME).environment.items() if "{" not in value}
    paths = {"HOME": folder, "XDG_CACHE_HOME": folder / "cache", "HF_HOME": folder / "hub", "TMPDIR": folder}
    fixed = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
    }
    return {**plain, **fixed, **{name: str(path) for name, path in paths.items()}}


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    limit = time.monotonic() + START_LIMIT_S
    while not _is_healthy(port):
        if process.poll() is not None or time.monotonic() > limit:
            raise ServerError(f"the server is not ready; its last words:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.25)


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{contract.HEALTH_PATH}", timeout=5) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004 - OK
    except (urllib.error.URLError, OSError):
        return False
