"""What the transformers runtime takes of a request and of its arguments, and what it refuses; torch is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inference_server import contract
from inference_server.refusal import InputError
from inference_server.serve_transformers import options, requests
from inference_server.serve_transformers.stops import StopCutter

HELLO = [{"role": "user", "content": "Hello!"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def chat(**more: Any) -> requests.Asked:
    return requests.chat({"messages": HELLO, **more})


def test_sampling_is_translated():
    """Greedy for temperature 0; sampling when a temperature is given; the model's own settings else."""
    assert chat(temperature=0, top_p=0.5).settings["do_sample"] is False
    hot = chat(temperature=0.7, top_p=0.9, top_k=-1, min_p=0.1, repetition_penalty=1.1, min_tokens=3).settings
    assert (hot["do_sample"], hot["temperature"], hot["top_p"], hot["top_k"], hot["min_p"]) == (True, 0.7, 0.9, 0, 0.1)
    assert (hot["repetition_penalty"], hot["min_new_tokens"]) == (1.1, 3)
    assert chat().settings == {}


def test_lengths_stops_and_streams():
    """The newer name of a limit wins; one stop is a list of one; usage in a stream is asked for."""
    asked = chat(max_tokens=5, max_completion_tokens=7, stop="x", stop_token_ids=[3], stream=True, seed=0)
    assert (asked.max_tokens, asked.stop, asked.stop_token_ids, asked.stream, asked.seed) == (7, ("x",), (3,), True, 0)
    assert chat(stream=True, stream_options={"include_usage": True}).include_usage
    assert not chat().include_usage


def test_parts_of_text_are_joined_as_vllm_does():
    """One line for each."""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    asked = requests.chat({"messages": [{"role": "user", "content": parts}]})
    assert asked.messages == [{"role": "user", "content": "a\nb"}]


def test_a_call_and_its_result_go_to_the_template():
    """With an assistant that says nothing beside the call."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    told = {"role": "tool", "tool_call_id": "1", "content": "r"}
    asked = requests.chat({"messages": [*HELLO, {"role": "assistant", "tool_calls": [call]}, told], "tools": [TOOL]})
    assert asked.messages is not None
    assert asked.messages[1] == {"role": "assistant", "content": "", "tool_calls": [call]}
    assert asked.messages[2] == told
    assert asked.tools == [TOOL]
    assert chat(tools=[TOOL], tool_choice="none").tools is None


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ([], "body: a JSON object"),
        ({}, "messages: a list"),
        ({"messages": []}, "messages: a list"),
        ({"messages": ["x"]}, "messages[0]: an object"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role: one of system"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content: a text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a"}}]}]},
            "vLLM",
        ),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": 5}}]}]}, "tool_calls"),
        ({"messages": HELLO, "temprature": 1}, "did you mean temperature?"),
        ({"messages": HELLO, "temperature": "hot"}, "temperature: from 0 to 100, found 'hot'"),
        ({"messages": HELLO, "temperature": float("nan")}, "temperature"),
        ({"messages": HELLO, "temperature": True}, "temperature"),
        ({"messages": HELLO, "top_p": 0}, "top_p: above 0 to 1"),
        ({"messages": HELLO, "max_tokens": 0}, "max_tokens: a whole number from 1"),
        ({"messages": HELLO, "max_tokens": 1.5}, "max_tokens"),
        ({"messages": HELLO, "seed": 2**70}, "seed"),
        ({"messages": HELLO, "n": 2}, "n: not supported by this runtime"),
        ({"messages": HELLO, "n": True}, "n: not supported"),
        ({"messages": HELLO, "logprobs": True}, "logprobs: not supported"),
        ({"messages": HELLO, "response_format": {"type": "json_object"}}, "response_format: not supported"),
        ({"messages": HELLO, "tools": [TOOL], "tool_choice": "required"}, "tool_choice: auto or none"),
        ({"messages": HELLO, "tools": [{}]}, "tools[0]"),
        ({"messages": HELLO, "stop": ["a"] * 99}, "stop: a text or a list of at most 16"),
        ({"messages": HELLO, "stop": [""]}, "stop: texts of 1 to"),
        ({"messages": HELLO, "stream": "yes"}, "stream: true or false"),
        (
            {"messages": HELLO, "chat_template_kwargs": {"chat_template": "{{ 1 }}"}},
            "chat_template_kwargs.chat_template",
        ),
        ({"messages": HELLO, "chat_template_kwargs": {"x": {}}}, "chat_template_kwargs.x"),
        ({"messages": HELLO, "generation_config": "{}"}, "generation_config: a field of this endpoint"),
        ({"messages": HELLO, "model": 5}, "model: a name"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(body: Any, told: str):
    """Nothing is silently left out."""
    with pytest.raises(InputError) as refused:
        requests.chat(body)
    assert told in str(refused.value)


@pytest.mark.parametrize("prompt", [None, "", 5, ["a", "b"], [1, 2]])
def test_a_completion_takes_one_text(prompt: Any):
    """Not several, and no ids."""
    with pytest.raises(InputError, match="prompt: one text"):
        requests.completion({"prompt": prompt})


@pytest.mark.parametrize(
    ("stops", "pieces", "shown"),
    [
        ((), ["ab", "c"], "abc"),
        (("X",), ["ab", "Xc"], "ab"),
        (("END",), ["abE", "N", "Dc"], "ab"),
        (("END",), ["abE", "Nx"], "abENx"),
        (("END",), ["abE"], "abE"),
        (("b", "ab"), ["xa", "b"], "x"),
        (("aab",), ["a", "a", "a", "b"], "a"),
    ],
)
def test_an_answer_ends_before_a_stop_text(stops: tuple[str, ...], pieces: list[str], shown: str):
    """Wherever it is cut into pieces; what only looked like one is shown in the end."""
    cutter = StopCutter(stops)
    assert "".join([*(cutter.feed(piece) for piece in pieces), cutter.end()]) == shown


def test_arguments_are_those_of_the_contract(tmp_path: Path):
    """What the operator writes; the file's options win, and vLLM's own ones have no effect."""
    file = tmp_path / "inference_config.yaml"
    file.write_text("vllm:\n  max-model-len: 512\n  enforce-eager: true\n  chat_template: plain\n")
    words = ["--model", "org/m", "--served-model-name", "a", "b", "--port", "5001", "--dtype", "bfloat16"]
    found = options.read([*words, "--max-model-len", "2048", "--revision", "c0ffee", "--config-file", str(file)])
    assert (found.model, found.served_names, found.port, found.revision) == ("org/m", ("a", "b"), 5001, "c0ffee")
    assert (found.max_model_len, found.dtype, found.trust_remote_code) == (512, "bfloat16", False)
    assert found.chat_template is not None
    assert found.chat_template.endswith("plain.jinja")
    assert options.read(["--model", "m", "--max-model-len", "auto"]).max_model_len is None
    assert options.read(["--model", "m"]).served_names == ("m",)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], contract.EXIT_USAGE, "--model"),
        (["--model", "m", "--max-modle-len", "5"], contract.EXIT_USAGE, "did you mean --max-model-len"),
        (["--model", "m", "--max-model-len", "many"], contract.EXIT_USAGE, "--max-model-len"),
        (["--model", "m", "--port", "70000"], contract.EXIT_USAGE, "--port"),
        (["--model", "m", "--dtype", "int4"], contract.EXIT_USAGE, "--dtype"),
        (["--model", "m", "--chat-template", "banana"], contract.EXIT_USAGE, "--chat-template"),
        (["--model", "m", "--config-file", "/nowhere.yaml"], contract.EXIT_CONFIG, "/nowhere.yaml"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_loaded(words: list[str], code: int, told: str):
    """Each with its exit code."""
    with pytest.raises(InputError) as refused:
        options.read(words)
    assert (refused.value.exit_code, told in str(refused.value)) == (code, True)
