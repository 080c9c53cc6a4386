"""Servers on loopback with equal settings: vLLM's own command, and ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from inference_server import contract
from kaito_controller.testing import serving
from kaito_controller.testing.ports import free_port
from kaito_controller.testing.serving import Server

PLAIN: Final = Path(__file__).with_name("plain_vllm.py")
SERVED_NAME: Final = "tiny-phi3"
SETTINGS: Final = (
    contract.ARG_SERVED_MODEL_NAME,
    SERVED_NAME,
    contract.ARG_DTYPE,
    "float32",
    contract.ARG_MAX_MODEL_LEN,
    "1024",
    contract.ARG_LOAD_FORMAT,
    "safetensors",
)


@contextmanager
def ours(python: Path, model: Path, folder: Path) -> Iterator[Server]:
    """Our server, ready, as the catalogue's runtime for the CPU starts it; it ends with the context."""
    with serving.running(serving.start(python, folder / "ours", contract.ARG_MODEL, str(model), *SETTINGS)) as started:
        yield started


@contextmanager
def plain_vllm(python: Path, model: Path, folder: Path) -> Iterator[Server]:
    """`vllm serve` with the same flags and variables."""
    home, port = folder / "vllm", free_port()
    command = [str(python), str(PLAIN), "serve", str(model), *serving.listening(port), *SETTINGS]
    with serving.running(serving.launch(command, home, serving.environment(home), port)) as started:
        yield started
