"""JSON that strangers wrote: decoded within bounds of size, depth and number of parts, and never ambiguous."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isfinite
from typing import Any, Final

from kaito_controller.sources.errors import malformed, too_large
from kaito_controller.sources.wording import shown

DEPTH: Final = 64
"""Levels of lists and objects. The deepest published config.json, of a multimodal model, has seven."""
PARTS: Final = 50_000
"""Lists and objects in one text, each of which takes up to a hundred times the bytes of its text. The most that a
published config.json has, for a quantisation that lists every layer, is a few thousand."""

Object = dict[str, Any]
_Pairs = list[tuple[str, Any]]


def decode_object(raw: bytes, *, what: str, parts: int = PARTS, unique: bool = False) -> Object:
    """Decode a JSON object.

    NaN, the infinities and numbers beyond a double become None, as KAITO reads them: Python writes such literals, and
    JSON has no such numbers. A key that is written twice must have the same value both times; with `unique` it is an
    error in any case.

    Args:
        raw: the text, in UTF-8; its size is the caller's to bound.
        what: the file, as messages call it.
        parts: how many lists and objects it may have.
        unique: whether the format itself forbids a key twice.

    Raises:
        SourceError: it is no such text.
    """
    found = raw.count(b"{") + raw.count(b"[")
    if found > parts:
        raise too_large(f"{what}: may have {parts} lists and objects; found {found}, so it is not read")
    value = _decoded(raw, what, _pairs_hook(what, unique=unique))
    if not isinstance(value, dict):
        raise malformed(f"{what}: must be a JSON object; found {shown(value)}")
    if _depth(value) > DEPTH:
        raise malformed(f"{what}: may nest {DEPTH} levels deep; found more")
    _refuse_half_characters(raw, value, what)
    return value


def _decoded(raw: bytes, what: str, pairs_hook: Callable[[_Pairs], Object]) -> Any:
    try:
        text = raw.decode("utf-8")
        return json.loads(text, parse_constant=_no_number, parse_float=_number, object_pairs_hook=pairs_hook)
    except UnicodeDecodeError as error:
        raise malformed(f"{what}: must be UTF-8 text; found another byte at {error.start}") from None
    except json.JSONDecodeError as error:
        raise malformed(f"{what}: must be JSON; line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise malformed(f"{what}: may nest {DEPTH} levels deep; found more") from None
    except ValueError:
        # Python refuses whole numbers of more than 4300 digits, whose conversion takes quadratic time.
        raise malformed(f"{what}: a number has thousands of digits; write it as it is meant") from None


def _pairs_hook(what: str, *, unique: bool) -> Callable[[_Pairs], Object]:
    def combined(pairs: _Pairs) -> Object:
        made = dict(pairs)
        if len(made) < len(pairs):
            _refuse_contradiction(pairs, what, unique=unique)
        return made

    return combined


def _refuse_contradiction(pairs: _Pairs, what: str, *, unique: bool) -> None:
    seen: Object = {}
    for key, value in pairs:
        if key in seen and (unique or seen[key] != value):
            values = "" if unique else f", as {shown(seen[key])} and as {shown(value)}"
            raise malformed(f"{what}: each key must be written once; found {shown(key)} twice{values}")
        seen[key] = value


def _no_number(_: str) -> None:
    """NaN, Infinity and -Infinity."""


def _number(text: str) -> float | None:
    number = float(text)
    return number if isfinite(number) else None


def _depth(value: Any) -> int:
    """How many levels there are; a walk without recursion, since the depth is what is in question."""
    deepest, level = 0, [value]
    while level:
        deepest += 1
        inner: list[Any] = []
        for part in level:
            inner += part.values() if isinstance(part, dict) else part
        level = [part for part in inner if isinstance(part, dict | list)]
    return deepest


def _refuse_half_characters(raw: bytes, value: Any, what: str) -> None:
    """A lone surrogate can be decoded but never be written out again."""
    if b"\\u" not in raw:
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise malformed(f"{what}: a text must hold whole characters; found half of a surrogate pair") from None
