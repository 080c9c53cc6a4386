"""Which of a repository's copies of a model are fetched."""

from __future__ import annotations

import pytest

from inference_server.weights.needed import needed

BOTH = ("config.json", "params.json", "model-00001-of-00001.safetensors", "consolidated.safetensors", "tekken.json")


@pytest.mark.parametrize(
    ("paths", "mistral", "left_out"),
    [
        (BOTH, False, {"consolidated.safetensors"}),
        (BOTH, True, {"model-00001-of-00001.safetensors"}),
        (("params.json", "consolidated.safetensors"), False, set()),
        (("config.json", "model.safetensors"), True, set()),
        (("config.json", "model.safetensors", "original/model.safetensors"), False, {"original/model.safetensors"}),
        (("config.json", "model.safetensors", "1_Pooling/config.json"), False, set()),
        ((), False, set()),
    ],
)
def test_one_copy_is_enough(paths: tuple[str, ...], mistral: bool, left_out: set[str]):
    """Those of the other format and of subfolders stay where they are; small files never do."""
    assert set(paths) - set(needed(paths, mistral=mistral)) == left_out
