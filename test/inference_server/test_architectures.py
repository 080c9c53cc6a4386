"""The catalogue's list of what the pinned vLLM serves, held against that vLLM."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from kaito_controller.catalog.engines import load_engine

ROOT = Path(__file__).resolve().parents[2]
ASK = """
import json
from vllm.model_executor.models.registry import ModelRegistry
print(json.dumps(sorted(ModelRegistry.get_supported_archs())))
"""


def test_the_list_is_fresh():
    """It is what hack/codegen/architectures would write."""
    done = subprocess.run([ROOT / "hack/codegen/architectures", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_engine_itself_names_the_same(inference_python: Path):
    """Its registry is imported here, with all that it needs."""
    environment = os.environ | {"VLLM_TARGET_DEVICE": "cpu", "VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1"}
    command = [inference_python, "-c", ASK]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == sorted(load_engine().kinds)
