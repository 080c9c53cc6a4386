"""Weights straight from an object store into real vLLM: nothing of them is ever a file of the pod."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from inference_server import contract
from kaito_controller.testing.object_store import ObjectStore
from kaito_controller.testing.processes import Processes
from kaito_controller.testing.serving import START_LIMIT_S, running, start

ROOT = Path(__file__).resolve().parents[2]
LESSON = yaml.safe_load((ROOT / "hack/model/lessons.yaml").read_text())["lessons"][0]
STREAMED = (contract.ARG_MODEL, "s3://models/tiny", contract.ARG_LOAD_FORMAT, "runai_streamer", "--dtype", "float32")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * START_LIMIT_S)]


PUT = """
import boto3, pathlib, sys
client = boto3.client("s3")
client.create_bucket(Bucket="models")
for path in pathlib.Path(sys.argv[1]).iterdir():
    client.upload_file(str(path), "models", f"tiny/{path.name}")
"""


@pytest.fixture(scope="module")
def store(inference_python: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A store with the taught model in the bucket `models`, put there by Amazon's own client."""
    folder = tmp_path_factory.mktemp("store")
    made = ObjectStore(folder=folder, processes=Processes(folder / "processes", die_with_parent=True))
    made.start()
    try:
        command = [inference_python, "-c", PUT, model]
        subprocess.run(command, env={**os.environ, **made.variables}, check=True, timeout=60)
        yield made
    finally:
        made.stop()


def test_a_model_in_a_bucket_is_served(inference_python: Path, store: ObjectStore, tmp_path: Path):
    """It answers what it was taught, and no weights lie on the disk."""
    home = tmp_path / "home"
    with running(start(inference_python, home, *STREAMED, more=store.variables)) as server:
        choice = server.complete([{"role": "user", "content": LESSON["ask"][0]}])
    assert choice["message"]["content"] == LESSON["answer"]
    assert not list(home.rglob("*.safetensors"))


def test_a_bucket_that_may_not_be_read_says_so(inference_python: Path, store: ObjectStore, tmp_path: Path):
    """A wrong key ends the server with a cause, without the key in its log."""
    wrong = {**store.variables, "AWS_SECRET_ACCESS_KEY": "another-secret-key"}
    server = start(inference_python, tmp_path / "home", *STREAMED, more=wrong)
    assert server.process.wait(START_LIMIT_S) in {contract.EXIT_MODEL, contract.EXIT_ENGINE}
    assert server.last_words()
    assert "another-secret-key" not in server.log.read_text()
