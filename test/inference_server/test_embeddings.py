"""A model of embeddings through our server: the tiny one, asked for vectors instead of words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference_server import contract
from kaito_controller.testing.serving import START_LIMIT_S, Server, running, start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * START_LIMIT_S)]


@pytest.fixture(scope="module")
def server(inference_python: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    arguments = ["--model", str(model), "--served-model-name", "tiny-embedding", "--dtype", "float32"]
    pooling = ["--runner", "pooling", "--convert", "embed"]
    home = tmp_path_factory.mktemp("embeddings")
    with running(start(inference_python, home, *arguments, *pooling)) as server:
        yield server


def test_texts_become_unit_vectors_of_the_models_width(server: Server):
    """One for each text, in order; the same text gives the same vector, another text another."""
    asked = {"model": "tiny-embedding", "input": ["What is KAITO?", "Hello!", "What is KAITO?"]}
    status, body = server.ask(contract.EMBEDDINGS_PATH, asked)
    assert status == 200, body
    first, other, again = (one["embedding"] for one in body["data"])
    assert [one["index"] for one in body["data"]] == [0, 1, 2]
    assert len(first) == 128
    assert math.hypot(*first) == pytest.approx(1, abs=1e-3)
    assert sum(a * b for a, b in zip(first, again, strict=True)) == pytest.approx(1, abs=1e-3)
    assert sum(a * b for a, b in zip(first, other, strict=True)) < 0.99


def test_the_model_is_listed(server: Server):
    """Under its served name."""
    status, body = server.ask(contract.MODELS_PATH)
    assert (status, [one["id"] for one in body["data"]]) == (200, ["tiny-embedding"])


def test_chat_is_refused_with_the_endpoint_to_use(server: Server):
    """A 400 that says why, not a path that is not found; and the server goes on."""
    status, body = server.ask(contract.CHAT_PATH, {"prompt": "What is KAITO?"})
    assert status == 400, body
    assert "one that generates text" in body["error"]["message"]
    assert contract.EMBEDDINGS_PATH in body["error"]["message"]
    assert server.ask(contract.HEALTH_PATH)[0] == 200
