"""Cached objects that share their words."""

from __future__ import annotations

import json

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.cache.packed import Packed, packing
from kaito_controller.machinery.cache.sharing import LONGEST, sharing
from kaito_controller.machinery.cache.transform import strip
from kaito_controller.testing.transport import obj

LONG = "x" * (LONGEST + 1)


def decoded(name: str) -> Object:
    body = obj(
        CONFIG_MAPS, name, "1", data={"a-key-of-ours": "a value", "long": LONG}, many=[{"b": 1}, "a value", None]
    )
    made: Object = json.loads(json.dumps(body))
    return made


def test_equal_words_of_two_objects_are_one() -> None:
    """Keys, and texts that are short; what is said stays the same."""
    share = sharing(strip)
    one, other = share(decoded("one")), share(decoded("other"))
    assert (one, other) == (decoded("one"), decoded("other"))
    for mine, theirs in zip(one["data"], other["data"], strict=True):
        assert mine is theirs
    assert one["data"]["a-key-of-ours"] is other["many"][1]
    assert one["data"]["long"] is not other["data"]["long"]


def test_what_is_packed_stays_packed() -> None:
    """Only what JSON makes is looked into."""
    made = sharing(packing(strip, "data"))(decoded("one"))
    assert made["data"] == Packed(decoded("one")["data"])
