"""JSON by whichever decoder is installed, and lines out of chunks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaito_controller.machinery import codec
from kaito_controller.machinery.codec import LineSplitter, decoder

INSTALLED = [name for name in ("json", "orjson", "msgspec") if find_spec(name) is not None]

GOOD = [
    b'{"a":[1,-2.5,true,false,null,"x"]}',
    ' {"text":"Zürich ☃ 😀"} '.encode(),
    b'"\\u00fc \\ud83d\\ude00 \\\\ud800"',
    b'{"a":1,"a":2}',
    b"9007199254740993",
    b"-9223372036854775808",
    b"18446744073709551615",
    b"[]",
]
BAD = {
    "nothing": b"",
    "html": b"<html>",
    "half": b'{"a":',
    "two values": b"{}{}",
    "latin-1": b'"\xff"',
    "a character cut apart": '"ü"'.encode()[:2] + b'"',
    "an encoded surrogate": b'"\xed\xa0\x80"',
    "half a pair": b'"\\ud800"',
    "half a pair in a key": b'{"\\uDfff":1}',
    "a pair the wrong way round": b'"\\ude00\\ud83d"',
    "NaN": b"[NaN]",
    "Infinity": b"-Infinity",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a control character": b'"a\tb"',
    "an abyss": b"[" * 200_000,
}


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("data", GOOD, ids=repr)
def test_every_decoder_reads_the_same(name: str, data: bytes) -> None:
    """Which one is installed must not matter to anything above."""
    assert decoder(name)[1](data) == json.loads(data)


@pytest.mark.scenario("RF15")
@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("what", BAD)
def test_every_decoder_refuses_the_same(monkeypatch: pytest.MonkeyPatch, name: str, what: str) -> None:
    """What is no JSON, or could not be sent back, is a ValueError and nothing else."""
    monkeypatch.setattr(codec, "_decode", decoder(name)[1])
    with pytest.raises(ValueError):  # noqa: PT011 - each decoder has words of its own
        codec.loads(BAD[what])


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=12,
    )
)
def test_what_is_encoded_is_decoded_by_every_decoder(value: object) -> None:
    """Nothing is lost on the way to the server and back."""
    data = codec.dumps(value)
    assert [decoder(name)[1](data) for name in INSTALLED] == [value] * len(INSTALLED)


@pytest.mark.parametrize("value", ["\ud800", float("nan"), float("inf")])
def test_what_no_server_could_read_is_not_encoded(value: object) -> None:
    """Half a surrogate pair and numbers that JSON lacks."""
    with pytest.raises(ValueError):  # noqa: PT011 - the words are those of the standard library
        codec.dumps(value)


def test_text_is_decoded_like_its_bytes() -> None:
    """A convenience for callers that hold a string."""
    assert codec.loads('{"a":"ü"}') == {"a": "ü"}


@pytest.mark.parametrize("name", ["json", "orjson", "msgspec", "simdjson", ""])
def test_the_environment_forces_a_decoder(name: str) -> None:
    """KAITO_JSON is obeyed at import; what it cannot have is refused with what to do, never replaced quietly."""
    program = "from kaito_controller.machinery import codec; print(codec.DECODER)"
    environment = dict(os.environ) | {"KAITO_JSON": name}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    if name in INSTALLED:
        assert done.stdout.strip() == name
    elif not name:
        fastest = next(known for known in ("orjson", "msgspec", "json") if known in INSTALLED)
        assert done.stdout.strip() == fastest
    else:
        assert "ValueError: KAITO_JSON: " in done.stderr
        assert ("not installed" if name in {"orjson", "msgspec"} else "json, msgspec, orjson") in done.stderr


LINES = st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=20)


@settings(max_examples=300, deadline=None)
@given(lines=LINES, seed=st.integers(0, 2**16))
def test_lines_come_out_whole_however_they_are_cut(lines: list[bytes], seed: int) -> None:
    """T4: two events in a chunk, one in many, UTF-8 cut apart; blank lines are dropped, half a line waits."""
    raw, rng = b"".join(line + b"\n" for line in lines) + b"half", Random(seed)
    splitter, out = LineSplitter(), list[bytes]()
    while raw:
        cut = rng.choice([0, 1, 2, 7, 40])
        out += splitter.feed(raw[:cut])
        raw = raw[cut:]
    assert out == [line for line in lines if line.strip()]
    assert splitter.pending == 4


def test_a_line_of_5_mib_in_small_chunks_is_joined_once() -> None:
    """T4: its cost grows with its length, not with the square of it."""
    line = b"x" * (5 * 2**20)
    splitter, out = LineSplitter(), list[bytes]()
    started = time.process_time()
    for at in range(0, len(line), 1024):
        assert splitter.feed(line[at : at + 1024]) == []
    out = splitter.feed(b"\nnext")
    assert time.process_time() - started < 1
    assert (out, splitter.pending) == ([line], 4)


def test_a_hundred_thousand_small_lines_are_cut_in_one_pass() -> None:
    """T4: one chunk of them takes milliseconds."""
    chunk = b'{"type":"BOOKMARK"}\n' * 100_000
    started = time.process_time()
    assert len(LineSplitter().feed(chunk)) == 100_000
    assert time.process_time() - started < 1


def test_a_line_that_does_not_end_is_refused_at_its_limit() -> None:
    """What is no watch stream must not eat the memory; lines below the limit are not touched by it."""
    splitter = LineSplitter(limit=10)
    assert splitter.feed(b"0123456789\n0123456789") == [b"0123456789"]
    with pytest.raises(ValueError, match="at most 10 bytes, found 11"):
        splitter.feed(b"x")


def test_the_limit_leaves_room_for_any_object() -> None:
    """Etcd refuses requests above 1.5 MiB by default; ours is forty times as much."""
    assert codec.LINE_LIMIT >= 40 * 1.5 * 2**20
