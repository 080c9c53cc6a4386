from __future__ import annotations

from pathlib import Path

import pytest

from inference_server import contract
from inference_server.refusal import InputError
from inference_server.tune import arguments


def test_all_that_the_operator_writes_is_understood():
    words = (
        "fetch --method qlora --model /m --weights hf://org/base@abc --model-name base --data-url https://a/x"
        " --data-url https://b/y --data-image r/i:1 --output /mnt/out --output-image r/o:1 --push-secret p"
        " --pull-secret q --allow-private-urls 10.0.0.0/8 --config-file /mnt/config/training_config.yaml"
    )
    found = arguments.parse(words.split())
    assert found.data_urls == ("https://a/x", "https://b/y")
    assert found.push_secrets == (Path("/mnt/secrets/p"),)
    assert (found.model, found.weights, found.model_name) == (Path("/m"), "hf://org/base@abc", "base")
    assert found.port == contract.PORT


def test_a_folder_is_the_model_itself():
    found = arguments.parse(["fetch", "--model", "/mnt/model"])
    assert (found.model, found.weights, found.model_name) == (Path("/mnt/model"), None, "/mnt/model")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["train", "--model", "m"],
        ["run"],
        ["run", "--model", "m", "--method", "full"],
        ["run", "--model", "m", "--nonsense"],
        ["run", "--model", "m", "--port", "x"],
        ["run", "--model", "m", "--processes", "0"],
        ["run", "--model", "m", "--pull-secret", "../x"],
        ["run", "--model", "m", "--allow-private-urls", "10.0.0.1/8"],
    ],
)
def test_a_wrong_word_is_refused(words):
    with pytest.raises(InputError) as caught:
        arguments.parse(words)
    assert caught.value.exit_code == contract.EXIT_USAGE


def test_a_wrong_push_secret_was_told_as_a_pull_secret():
    with pytest.raises(InputError) as caught:
        arguments.parse(["run", "--model", "m", "--push-secret", "../x"])
    assert caught.value.field == contract.ARG_PUSH_SECRET
