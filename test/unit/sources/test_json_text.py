"""JSON of strangers: what it comes to, what is refused, and that nothing else ever happens."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kaito_controller.sources.errors import SourceError, Trouble
from kaito_controller.sources.json_text import DEPTH, decode_object
from kaito_controller.sources.wording import shown

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def decoded(text: str | bytes, **options: Any) -> dict[str, Any]:
    return decode_object(text if isinstance(text, bytes) else text.encode(), what="config.json", **options)


def refusal(text: str | bytes, **options: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        decoded(text, **options)
    return caught.value


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_what_is_no_number_is_null(literal: str):
    """Python writes such literals into config.json; in strings they are text."""
    assert decoded(f'{{"a": {literal}, "b": [{literal}], "c": "NaN"}}') == {"a": None, "b": [None], "c": "NaN"}


def test_a_key_may_be_repeated_but_not_contradicted():
    """Two values would be read one way here and another way in the engine."""
    assert decoded('{"a": 1, "a": 1}') == {"a": 1}
    assert "'a' twice, as 1 and as 2" in str(refusal('{"a": 1, "a": 2}'))
    assert "twice" in str(refusal('{"a": 1, "a": 1}', unique=True))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must be JSON; line 1, column 1"),
        ("[1]", "must be a JSON object; found a list of 1"),
        ("{'a': 1}", "must be JSON; line 1, column 2"),
        (b'{"a": "\xff"}', "must be UTF-8 text; found another byte at 7"),
        ('{"a": "\\ud800"}', "half of a surrogate pair"),
        ('{"a": ' + "9" * 5000 + "}", "thousands of digits"),
        ('{"a":' * (DEPTH + 1) + "1" + "}" * (DEPTH + 1), "may nest 64 levels deep"),
        ('{"a":' + "[" * 40_000 + "]" * 40_000 + "}", "may nest 64 levels deep"),
    ],
)
def test_what_is_refused_is_told(text: str | bytes, why: str):
    """Each says what the rule is."""
    error = refusal(text)
    assert error.trouble is Trouble.MALFORMED
    assert str(error).startswith("config.json: ")
    assert why in str(error)


def test_more_parts_than_a_file_may_have_are_not_decoded():
    """A list of empty lists takes twenty times its text."""
    error = refusal('{"a": [' + "[]," * 60_000 + "[]]}")
    assert error.trouble is Trouble.TOO_LARGE
    assert "found 60003, so it is not read" in str(error)


@given(VALUES)
def test_what_json_can_hold_is_read_or_refused(value: object):
    """What comes back can be written again."""
    try:
        found = decoded(json.dumps({"a": value}, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    except SourceError:
        return
    json.dumps(found, ensure_ascii=False, allow_nan=False).encode()


@given(st.binary(max_size=300))
@example(b'{"a":1e400}')
@example(b"\xef\xbb\xbf{}")
@example(b'{"\\ud800":1}')
def test_no_bytes_end_otherwise(raw: bytes):
    """Whatever is sent: an object or a refusal."""
    try:
        assert isinstance(decoded(raw), dict)
    except SourceError as error:
        str(error).encode()


@given(st.text(alphabet='{}[]":,0123456789eE+-.\\ud8aN', max_size=200))
def test_no_text_of_json_s_own_signs_ends_otherwise(text: str):
    """Nearer to JSON than arbitrary bytes."""
    try:
        assert isinstance(decoded(text), dict)
    except SourceError as error:
        str(error).encode()


def test_the_worst_megabyte_takes_little_time():
    """A bound on work, wide enough for a busy machine."""
    deep = b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    digits = b'{"a":' + b"9" * 1_000_000 + b"}"
    strings = b'{"a":"' + b"\\u0041" * 170_000 + b'"}'
    begin = time.perf_counter()
    for raw in (deep, digits, strings):
        try:
            decoded(raw)
        except SourceError:
            continue
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize(
    ("value", "text"),
    [("a\x1b[31m\n", r"'a\x1b[31m\n'"), (10**40, "a number of more than 30 digits"), (None, "null"), ({}, "an object")],
)
def test_values_of_strangers_cannot_command_a_terminal(value: object, text: str):
    """Escapes are shown, not sent."""
    assert shown(value) == text
    assert len(shown("x" * 1000)) < 100
