from __future__ import annotations

from typing import Any

import pytest

from inference_server.refusal import InputError
from inference_server.serve import dialogs

TURN = {"role": "user", "content": "q?"}


def body(dialog: Any = None, **more: Any) -> dict[str, Any]:
    return {"input_data": {"input_string": [dialog or [TURN]]}, **more}


def test_every_dialog_is_asked_and_comes_back_with_its_answer():
    """The historic answer: roles in capitals, the model's turn at the end."""
    two = [TURN, {"role": "assistant", "content": "a."}, {"role": "User", "content": "and?"}]
    found = dialogs.read({"input_data": {"input_string": [[TURN], two]}})
    bodies = found.completions()
    assert [one["messages"][-1]["content"] for one in bodies] == ["q?", "and?"]
    assert bodies[1]["messages"][2]["role"] == "user"
    assert all(one["temperature"] == 0 and one["stream"] is False for one in bodies)
    first, second = found.results(["one", "two"])["results"]
    assert first == [{"role": "User", "content": "q?"}, {"role": "Assistant", "content": "one"}]
    assert [turn["role"] for turn in second] == ["User", "Assistant", "User", "Assistant"]


def test_its_parameters_become_the_endpoints():
    given = {"max_gen_len": 64, "temperature": 0.6, "top_p": 0.9}
    assert dialogs.read(body(parameters=given)).settings == {
        "max_completion_tokens": 64,
        "temperature": 0.6,
        "top_p": 0.9,
    }
    assert dialogs.read(body(parameters={"max_gen_len": None})).settings == {"temperature": 0}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"input_data": None}, "input_data"),
        ({"input_data": {}}, "input_data.input_string"),
        ({"input_data": {"input_string": []}}, "input_data.input_string"),
        ({"input_data": {"input_string": "q"}}, "input_data.input_string"),
        ({"input_data": {"input_string": [[TURN]] * 33}}, "input_data.input_string"),
        ({"input_data": {"input_string": [[]]}}, "input_data.input_string[0]"),
        (body(["q"]), "input_data.input_string[0][0]"),
        (body([{"role": "tool", "content": "q"}]), "input_data.input_string[0][0].role"),
        (body([{"role": "user", "content": 5}]), "input_data.input_string[0][0].content"),
        (body([{**TURN, "name": "n"}]), "input_data.input_string[0][0].name"),
        (body(parameters=5), "parameters"),
        (body(parameters={"temprature": 1}), "parameters.temprature"),
        (body(parameters={"top_p": 7}), "parameters.top_p"),
        (body(prompt="q"), "prompt"),
    ],
)
def test_what_is_wrong_is_named(wrong: dict[str, Any], field: str):
    with pytest.raises(InputError) as caught:
        dialogs.read(wrong)
    assert caught.value.field == field
