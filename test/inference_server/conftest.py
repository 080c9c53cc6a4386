"""The inference environment and the taught model, which set-up has made and are only found here; and a registry."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaito_controller.testing.processes import Processes
from kaito_controller.testing.registry import Registry

ROOT = Path(__file__).resolve().parents[2]


def printed_path(*command: str) -> Path:
    """The path that a command of this checkout prints; what it says of its progress goes to the test's output."""
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def inference_python() -> Path:
    """The interpreter of the environment that holds vLLM."""
    return printed_path("hack/environment", "inference-cpu")


@pytest.fixture(scope="session")
def model() -> Path:
    """The folder of the tiny model that knows its lessons."""
    return printed_path("hack/model/build")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A real one, with a password and TLS of its own authority; each file of tests has its own."""
    folder = tmp_path_factory.mktemp("registry")
    made = Registry(folder=folder / "registry", processes=Processes(folder / "processes", die_with_parent=True))
    made.start()
    try:
        yield made
    finally:
        made.stop()
