"""What the catalogue promises of its models, held against the pinned vLLM: options, parsers, modes and templates."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from inference_server import contract
from inference_server.refusal import InputError
from inference_server.serve import chat_template
from kaito_controller.catalog.loader import load

ROOT = Path(__file__).resolve().parents[2]
CATALOG = load()
TEMPLATE = contract.ARG_CHAT_TEMPLATE.removeprefix("--")
PARSER = contract.ARG_TOOL_CALL_PARSER.removeprefix("--")
ARGUMENTS: list[tuple[str, dict[str, Any]]] = [
    ("get_weather", {"city": "Paris", "days": 3}),
    ("get_time", {"zone": "CET"}),
]


def tool(name: str, **properties: str) -> dict[str, Any]:
    kinds = {key: {"type": kind} for key, kind in properties.items()}
    function = {"name": name, "description": f"Is {name}.", "parameters": {"type": "object", "properties": kinds}}
    return {"type": "function", "function": function}


CONVERSATION = {
    "tools": [tool("get_weather", city="string", days="integer"), tool("get_time", zone="string")],
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather and time?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"type": "function", "function": {"name": n, "arguments": a}} for n, a in ARGUMENTS],
        },
        {"role": "tool", "content": "It rains."},
        {"role": "tool", "content": "It is noon."},
        {"role": "assistant", "content": "It rains at noon."},
        {"role": "user", "content": "And then?"},
        {"role": "assistant", "content": "It stops."},
    ],
}


def parser_of(template: str) -> str | None:
    """The parser of the presets that are given a template; every one of them the same."""
    options = [one.engine_arguments for one in CATALOG.presets if one.engine_arguments.get(TEMPLATE) == template]
    found = {one.get(PARSER) for one in options}
    assert len(found) == 1, (template, found)
    return found.pop()


@pytest.fixture(scope="module")
def answer(inference_python: Path) -> Any:
    """Everything asked of the inference environment in one go: importing vLLM is what takes long."""
    templates = {name: {"parser": parser_of(name), "conversation": CONVERSATION} for name in chat_template.names()}
    presets = {one.name: dict(one.engine_arguments) for one in CATALOG.presets}
    asked = {"presets": presets, "templates": templates, "folder": str(chat_template.FOLDER)}
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "HF_HUB_OFFLINE": "1",
    }
    script = Path(__file__).with_name("capability_oracle.py")
    done = subprocess.run(
        [inference_python, script], input=json.dumps(asked), capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_engine_has_every_parser_mode_and_option_that_a_preset_names(answer: Any):
    """Its own option parser reads them, and its registries hold the names."""
    assert {name: problems for name, problems in answer["presets"].items() if problems} == {}
    assert len(answer["presets"]) == len(CATALOG.presets)


@pytest.mark.slow
@pytest.mark.parametrize("template", [name for name in chat_template.names() if parser_of(name)])
def test_a_template_shows_tools_and_its_parser_reads_back_what_it_renders(answer: Any, template: str):
    """Every tool and parameter stands in the prompt, calls come back as they were, and results follow them."""
    found = answer["templates"][template]
    assert all(word in found["prompt"] for word in ("Be brief.", "get_weather", "days", "get_time", "zone"))
    assert "get_weather" not in found["untooled"]
    assert found["goes_on"], "the answer does not follow the prompt that asked for it"
    assert found["calls"] == [[name, arguments] for name, arguments in ARGUMENTS], found["said"]
    turns = ("Weather and time?", found["said"], "It rains.", "It is noon.", "It rains at noon.", "And then?")
    places = [found["whole"].index(turn) for turn in turns]
    assert places == sorted(places)


@pytest.mark.slow
def test_the_plain_template_is_the_words_alone(answer: Any):
    """A model that goes on with a text gets the text."""
    assert answer["templates"]["plain"]["untooled"] == "Be brief.\nWeather and time?"


def test_every_template_that_a_preset_names_is_shipped():
    """And each that is shipped is named by a preset."""
    named = {one.engine_arguments[TEMPLATE] for one in CATALOG.presets if TEMPLATE in one.engine_arguments}
    assert named == set(chat_template.names())


@pytest.mark.parametrize(
    "words", [["--chat-template", "plain"], ["--chat-template=plain"], ["--chat_template", "plain"]]
)
def test_a_name_becomes_the_shipped_file(words: list[str]):
    """However the option is written."""
    found = chat_template.located(["--model", "plain", *words, "--port", "1"])
    assert found[:2] == ["--model", "plain"]
    assert found[-2:] == ["--port", "1"]
    assert Path(found[2:-2][-1].rpartition("=")[2]).read_text().startswith("{#-")


@pytest.mark.parametrize(
    "value", ["./mine.jinja", "template_chatml.jinja", "{{ messages[0].content }}", "a/b", __file__]
)
def test_a_path_and_a_template_written_out_stay(value: str):
    """They are the engine's to read."""
    assert chat_template.located(["--chat-template", value]) == ["--chat-template", value]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("phi4_mini", "did you mean phi4-mini?"),
        ("/workspace/chat_templates/tool-chat-phi4-mini.jinja", "did you mean phi4-mini?"),
        ("/workspace/chat_templates/tool-chat-hermes.jinja", "leave it out where the model brings its own"),
        ("banana", "this server has deepseek-v3, gemma3-pythonic, phi4-mini, plain"),
    ],
)
def test_an_unknown_template_is_refused_with_the_nearest(value: str, told: str):
    """Before the engine starts, also for the paths of KAITO's image."""
    with pytest.raises(InputError) as refused:
        chat_template.located(["--chat-template", value])
    assert told in str(refused.value)
    assert value in str(refused.value)
