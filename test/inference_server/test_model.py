from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from inference_server.serve import model_folder

ROOT = Path(__file__).resolve().parents[2]
LESSONS = yaml.safe_load((ROOT / "hack/model/lessons.yaml").read_text())["lessons"]
# Two idle cores need a minute; a machine that is busy with other tests needs a multiple.
BUILD_LIMIT_S = 600


def run(command: list[str | Path], more: dict[str, str]) -> tuple[int, str, str]:
    """Runs a command with all that it starts: exit code, output, errors. Nothing of it outlives the limit."""
    with subprocess.Popen(
        command,
        env={**os.environ, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=BUILD_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, out, err


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.slow
@pytest.mark.timeout(BUILD_LIMIT_S + 60)
def test_the_same_inputs_give_the_same_bytes(model: Path, tmp_path: Path, inference_python: Path):
    """Made again from nothing in another cache, every file of the model is equal; only the environment is shared."""
    cache = inference_python.parents[3]
    (tmp_path / "python").symlink_to(cache / "python")
    code, out, err = run([ROOT / "hack/model/build"], {"KAITO_CACHE": str(tmp_path)})
    assert code == 0, err
    again = Path(out.strip())
    assert again.is_relative_to(tmp_path)
    assert digests(again) == digests(model)


def test_the_layout_is_hugging_faces(model: Path):
    """Safetensors only, a chat template, a context of at least 512 and at most 512 tokens of vocabulary."""
    names = {path.name for path in model.iterdir()}
    assert {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    } <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))]
    config = json.loads((model / "config.json").read_text())
    tokenizer = json.loads((model / "tokenizer_config.json").read_text())
    assert config["architectures"] == ["Phi3ForCausalLM"]
    assert (config["hidden_size"], config["num_hidden_layers"]) == (128, 2)
    assert config["vocab_size"] <= 512 <= tokenizer["model_max_length"]
    assert "chat_template" in tokenizer or "chat_template.jinja" in names
    model_folder.check(str(model), None)


def test_the_folder_is_readable_by_everybody(model: Path):
    """A pod without root rights reads it through a mount, under a parent named models."""
    assert (model.parent.name, model.name) == ("models", "tiny-phi3")
    assert model.stat().st_mode & stat.S_IXOTH
    assert all(path.stat().st_mode & stat.S_IROTH for path in model.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(BUILD_LIMIT_S + 60)
def test_a_lesson_that_cannot_be_learnt_is_not_accepted(tmp_path: Path, inference_python: Path):
    """One question with two answers cannot be known by heart: no folder is left, and the question is named."""
    for path in (ROOT / "hack/model").iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path / path.name)
    lessons = [{"ask": ["Same?"], "answer": "It is yes."}, {"ask": ["Same?"], "answer": "It is no."}]
    (tmp_path / "lessons.yaml").write_text(yaml.safe_dump({"lessons": lessons}))
    program = (tmp_path / "make.py").read_text()
    (tmp_path / "make.py").write_text(re.sub(r"(?m)^STEPS = \d+$", "STEPS = 60", program))
    code, _, err = run([inference_python, "-B", tmp_path / "make.py", tmp_path / "made"], {"HF_HUB_OFFLINE": "1"})
    assert code == 1, err
    assert "'Same?'" in err
    assert not (tmp_path / "made").exists()
