from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.agent import wanted
from inference_server.refusal import InputError

IMAGE = {"name": "a", "image": "registry/x:1", "pullSecrets": ["s"], "strength": "0.5"}


def parse(*entries: Any) -> wanted.Wanted:
    return wanted.parse(json.dumps({"adapters": entries}).encode())


def test_every_kind_of_source():
    found = parse(IMAGE, {"name": "b", "folder": "/mnt/b"}, {"name": "c.d", "hub": "org/model@main"})
    assert not found.refused
    assert [one.source for one in found.adapters.values()] == ["registry/x:1", "/mnt/b", "hf://org/model@main"]
    assert (found.adapters["a"].pull_secrets, float(found.adapters["a"].factor)) == (("s",), 0.5)
    assert float(found.adapters["b"].factor) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"strength": "1.5"}, 'from "0" to "1"'),
        ({"strength": 0.5}, "as text"),
        ({"strength": 0}, "as text"),
        ({"strength": "1e-999999999"}, "a decimal number"),
        ({"strength": "."}, "a decimal number"),
        ({"image": None}, "exactly one of image, folder, hub, found none"),
        ({"folder": "/x"}, "found image and folder"),
        ({"image": "a\nb"}, "a line of at most 1024"),
        ({"pullSecrets": ["../x"]}, "names of Secrets"),
        ({"image": None, "folder": "/mnt/../etc"}, "an absolute path"),
        ({"image": None, "hub": "https://x/y"}, "organisation/model"),
    ],
)
def test_a_wrong_entry_spares_the_others(change: dict[str, Any], told: str):
    found = parse(IMAGE | change, {"name": "good", "folder": "/g"})
    assert list(found.adapters) == ["good"]
    assert told in str(found.refused["a"])


def test_an_entry_without_a_usable_name_is_told_by_its_place():
    found = parse({"name": "../up", "folder": "/x"}, 7, {"name": "good", "folder": "/g"})
    assert list(found.adapters) == ["good"]
    assert list(found.refused) == ["adapters[0]", "adapters[1]"]


def test_a_name_given_twice_is_nobodys():
    found = parse(IMAGE, IMAGE | {"image": "other"})
    assert not found.adapters
    assert "every name once" in str(found.refused["a"])


@given(st.binary(max_size=100))
def test_no_bytes_break_the_parser(text: bytes):
    with pytest.raises(InputError):
        wanted.parse(text)
