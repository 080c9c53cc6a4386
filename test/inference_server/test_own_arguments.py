from __future__ import annotations

import pytest

from inference_server.refusal import InputError
from inference_server.serve import own_arguments
from inference_server.serve.own_arguments import OwnArguments


def test_the_config_file_is_split_off():
    """Both spellings of our own option are taken out and the last counts."""
    assert own_arguments.split(["--config-file", "/a", "--model", "m"]) == (
        OwnArguments(config_file="/a"),
        ["--model", "m"],
    )
    assert own_arguments.split(["--config-file=/b"]) == (OwnArguments(config_file="/b"), [])
    assert own_arguments.split(["x"]) == (OwnArguments(), ["x"])
    waiting = ["--weights-agent", "http://a", "--architecture", "A"]
    assert own_arguments.split(waiting) == (OwnArguments(weights_agent="http://a", architecture="A"), [])


def test_kaitos_arguments_are_understood():
    """Pod templates written for KAITO's wrapper start this server too; what does nothing here can be told."""
    words = [
        *("--kaito-config-file", "/c", "--model", "m", "--kaito-adapters-dir=/a", "--kaito-max-probe-steps", "6"),
        *("--kaito-kv-cache-cpu-memory-utilization", "0.5", "--kaito_disable_rate_limit"),
    ]
    own, rest = own_arguments.split(words)
    assert rest == ["--model", "m"]
    assert own == OwnArguments(
        config_file="/c",
        adapters_folder="/a",
        disable_rate_limit=True,
        without_effect=("--kaito-max-probe-steps", "--kaito-kv-cache-cpu-memory-utilization"),
    )
    assert own_arguments.split(["--kaito-config-file", "/c", "--config-file", "/ours"])[0].config_file == "/ours"
    assert own_arguments.split(["--kaito-config-file", ""])[0].config_file is None
    assert not own_arguments.split(["--kaito-disable-rate-limit=false"])[0].disable_rate_limit


@pytest.mark.parametrize(
    "words",
    [["--config-file"], ["--config-file="], ["--kaito-adapters-dir"], ["--kaito-disable-rate-limit=perhaps"]],
)
def test_a_value_that_is_missing_or_wrong_is_refused(words: list[str]):
    with pytest.raises(InputError) as caught:
        own_arguments.split(words)
    assert caught.value.field == words[0].partition("=")[0]
