"""The inference environment and the taught model, which set-up has made; here they are only found."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

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
