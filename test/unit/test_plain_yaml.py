"""What a user's YAML may hold, and that whatever else it holds is refused in a line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server import contract, plain_yaml
from inference_server.refusal import InputError


@pytest.mark.parametrize(
    "text",
    [
        *("a: !!int ''", "a: !!timestamp x", "a: !!bool x", "a: !!float x", "a: !!int 0x", "a: !!null [1]"),
        *("? [a]\n: 1", "? {a: b}\n: 1", "<<: 5"),
        *(
            "a: !!binary aGk=",
            "a: !!set {b}",
            "a: !!timestamp 2024-01-01",
            "!!python/name:os.system ''",
        ),
        *("a: " + "1" * 5000, "a: 0x" + "F" * 5000, "a: 1:" + "59:" * 200 + "1"),
    ],
)
def test_a_value_that_is_not_what_it_looks_like_ended_without_a_word(text):
    with pytest.raises(InputError) as caught:
        plain_yaml.load(text)
    assert caught.value.exit_code == contract.EXIT_CONFIG
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["2024-01-01", "2024-13-45", "2001-12-14t21:59:43.10-05:00"])
def test_a_date_is_text(text):
    assert plain_yaml.load(f"a: {text}") == {"a": text}


@given(st.text(alphabet=st.sampled_from("ab01:.-_ \n!{}[],?&*<>|'\"#%~xtfn"), max_size=40))
def test_any_text_is_plain_data_or_refused(text):
    try:
        found = plain_yaml.load(text)
    except InputError as refusal:
        assert refusal.exit_code == contract.EXIT_CONFIG  # noqa: PT017
    else:
        json.dumps(found)
