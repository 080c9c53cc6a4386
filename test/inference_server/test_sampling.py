from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference_server.refusal import InputError
from inference_server.serve import sampling


def body_for(prompt_tokens: int = 0, /, **kwargs: Any) -> dict[str, Any]:
    """What the OpenAI endpoint is asked, without the parts that every request has."""
    body = sampling.read({"prompt": "q", "generate_kwargs": kwargs}).completion(prompt_tokens)
    assert body.pop("messages") == [{"role": "user", "content": "q"}]
    assert body.pop("stream") is False
    return body


def refusal(body: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        sampling.read(body)
    return caught.value


GREEDY = {"temperature": 0}


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({}, GREEDY),
        ({"temperature": 0}, GREEDY),
        ({"do_sample": False, "temperature": 0.7, "top_p": 0.5}, GREEDY),
        ({"top_p": 0.5, "top_k": 10}, GREEDY),
        ({"temperature": 0.7}, {"temperature": 0.7}),
        ({"do_sample": True}, {"temperature": 1.0}),
        (
            {"do_sample": True, "temperature": 0.5, "top_p": 0.9, "top_k": 10, "min_p": 0.1},
            {"temperature": 0.5, "top_p": 0.9, "top_k": 10, "min_p": 0.1},
        ),
        ({"max_new_tokens": 7}, {**GREEDY, "max_completion_tokens": 7}),
        ({"min_new_tokens": 3}, {**GREEDY, "min_tokens": 3}),
        ({"repetition_penalty": 1.1, "seed": 4}, {**GREEDY, "repetition_penalty": 1.1, "seed": 4}),
        ({"stop": "."}, {**GREEDY, "stop": ["."]}),
        ({"eos_token_id": 5, "pad_token_id": 0}, {**GREEDY, "stop_token_ids": [5]}),
        ({"max_new_tokens": None, "do_sample": None}, GREEDY),
    ],
)
def test_generate_kwargs_become_the_endpoints_parameters(kwargs: dict[str, Any], expected: dict[str, Any]):
    """Greedy unless do_sample or a temperature asks for sampling; the names are translated one by one."""
    assert expected == body_for(**kwargs)


def test_lengths_that_count_the_prompt():
    """`max_length` and `min_length` lose the prompt's tokens; a max_new_tokens beside wins."""
    assert body_for(30, max_length=200, min_length=40) == {**GREEDY, "max_completion_tokens": 170, "min_tokens": 10}
    assert body_for(30, max_length=200, max_new_tokens=5) == {**GREEDY, "max_completion_tokens": 5}
    assert body_for(30, min_length=20) == GREEDY


def test_a_prompt_longer_than_max_length_is_refused():
    """No room for an answer is an error of the request, not an empty answer."""
    chat = sampling.read({"prompt": "q", "generate_kwargs": {"max_length": 30}})
    assert chat.needs_prompt_tokens
    with pytest.raises(InputError, match="30 tokens of the prompt"):
        chat.completion(30)


def test_the_tutorials_body_is_accepted():
    """The whole example of the historic documentation works: neutral values ask for nothing."""
    body = {
        "prompt": "q",
        "return_full_text": False,
        "clean_up_tokenization_spaces": False,
        "prefix": None,
        "handle_long_generation": None,
        "generate_kwargs": {
            "max_length": 200,
            "min_length": 0,
            "do_sample": True,
            "early_stopping": False,
            "num_beams": 1,
            "num_beam_groups": 1,
            "diversity_penalty": 0.0,
            "temperature": 1.0,
            "top_k": 10,
            "top_p": 1,
            "typical_p": 1,
            "repetition_penalty": 1,
            "length_penalty": 1,
            "no_repeat_ngram_size": 0,
            "encoder_no_repeat_ngram_size": 0,
            "bad_words_ids": None,
            "num_return_sequences": 1,
            "output_scores": False,
            "return_dict_in_generate": False,
            "forced_bos_token_id": None,
            "forced_eos_token_id": None,
            "remove_invalid_values": None,
        },
    }
    chat = sampling.read(body)
    assert {"temperature": 1.0, "top_k": 10, "top_p": 1, "repetition_penalty": 1} == chat.parameters
    assert (chat.max_length, chat.return_full_text) == (200, False)


def test_the_flat_body_of_the_first_version_means_the_same():
    """KAITO 0.1 took the settings beside the prompt; refusals then name the field without a section."""
    settings = {"max_length": 200, "do_sample": True, "top_k": 10, "num_beams": 1, "temperature": 1.0}
    flat = sampling.read({"prompt": "q", **settings})
    nested = sampling.read({"prompt": "q", "generate_kwargs": settings})
    assert flat.completion(7) == nested.completion(7)
    assert refusal({"prompt": "q", "top_p": 7}).field == "top_p"
    assert refusal({"prompt": "q", "num_beams": 4}).field == "num_beams"
    assert refusal({"prompt": "q", "do_sample": True, "temperature": 0}).field == "temperature"
    assert refusal({"prompt": "q", "top_p": 1, "generate_kwargs": {"top_k": 1}}).field == "top_p"
    with pytest.raises(InputError, match=r"^max_length"):
        flat.completion(200)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (None, "body"),
        ([], "body"),
        ({}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": " "}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": ["q"]}, "prompt"),
        ({"messages": []}, "messages"),
        ({"prompt": "q", "promt": "q"}, "promt"),
        ({"prompt": "q", "prefix": "p"}, "prefix"),
        ({"prompt": "q", "return_full_text": "yes"}, "return_full_text"),
        ({"prompt": "q", "generate_kwargs": []}, "generate_kwargs"),
    ],
)
def test_a_bad_body_is_refused(body: Any, field: str):
    """The first wrong field is named."""
    assert field == refusal(body).field


@pytest.mark.parametrize(
    "kwargs",
    [
        {"temperature": -1},
        {"temperature": "0.5"},
        {"temperature": True},
        {"temperature": float("inf")},
        {"temperature": 2.5},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_k": -5},
        {"top_k": 1.5},
        {"max_new_tokens": 0},
        {"max_new_tokens": True},
        {"max_new_tokens": 2**40},
        {"max_length": 0},
        {"repetition_penalty": 0},
        {"do_sample": 1},
        {"do_sample": True, "temperature": 0},
        {"stop": [""]},
        {"stop": 5},
        {"eos_token_id": "x"},
        {"num_beams": 4},
        {"num_beams": True},
        {"num_return_sequences": 2},
        {"temprature": 1},
    ],
)
def test_a_bad_parameter_is_refused(kwargs: dict[str, Any]):
    """The field, what it must be and what was found are all in the refusal, on one line."""
    found = refusal({"prompt": "q", "generate_kwargs": kwargs})
    name = "temperature" if kwargs.get("do_sample") is True else next(iter(kwargs))
    assert f"generate_kwargs.{name}" == found.field
    assert found.rule
    assert found.found


# A small alphabet: drawing from all of Unicode takes seconds to begin.
words = st.text("aé1. ", max_size=4)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from([*sampling.CHECKS, *sampling.NEUTRAL_KWARGS, "other"])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(names, json_values, max_size=4), st.integers(min_value=0, max_value=5000))
def test_any_json_is_answered_or_refused(kwargs: dict[str, Any], prompt_tokens: int):
    """No value of any kind raises anything but a refusal."""
    try:
        body = sampling.read({"prompt": "q", "generate_kwargs": kwargs}).completion(prompt_tokens)
    except InputError as refused:
        outcome = refused.field
    else:
        outcome = "generate_kwargs" if body["temperature"] >= 0 else "a temperature below 0"
    assert outcome.startswith("generate_kwargs")
