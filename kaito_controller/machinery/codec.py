"""Bytes to objects and back: JSON, and the line framing of watch streams.

Objects are decoded by orjson when it is installed, else by msgspec, else by the standard library. `KAITO_JSON` (`json`,
`orjson` or `msgspec`) forces one, for tests and measurements. All three refuse the same inputs, so nothing above
depends on which one is there; they differ on whole numbers beyond 64 bits, which Kubernetes has none of.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from json.decoder import JSONDecoder
from typing import Any

FORCED_BY = "KAITO_JSON"
LINE_LIMIT = 64 * 2**20
"""Bytes that a line may have. etcd takes requests of 1.5 MiB by default, so a real event has a few MiB at most; what
goes on for longer is no watch stream, and would only eat memory."""
DEPTH = 200
"""Levels that `shortened` leaves of what nests too deep: few enough for every decoder, and for what recurses later."""
CUT = "\0cut"
"""The field that marks what `shortened` has cut; no object of an API has one of that name."""

_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.?[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
"""A bracket, or a string, in which brackets mean nothing. One without an end goes on to that of the data: looking for
all of them takes time in proportion to the data, whatever is in it."""
_MARK = f",{json.dumps(CUT)}:true".encode()

Decode = Callable[[bytes], Any]


def loads(data: bytes | str) -> Any:
    """Decode one JSON value.

    Raises:
        ValueError: it is no JSON, no UTF-8, has half a surrogate pair in a string, or nests too deep to be read.
    """
    try:
        return _decode(data if isinstance(data, bytes) else data.encode())
    except RecursionError as error:
        raise ValueError("JSON: nested too deep to be read") from error


def shortened(data: bytes, level: int) -> Any:
    """Decode JSON that `loads` refuses because objects in it nest too deep: each is cut below `DEPTH`, and has `CUT`.

    The API server takes 10,000 levels, the decoders some 1,000. One such object must not hide those that come with it.

    Args:
        data: the JSON.
        level: at which level these objects are, such as 3 for the items of a list.

    Raises:
        ValueError: nothing nests too deep, or that is not all that is wrong with it.
    """
    cut = _cut(data, level)
    if cut == data:
        raise ValueError(f"JSON: nothing in it nests deeper than {DEPTH} levels")
    return loads(cut)


def _cut(data: bytes, level: int) -> bytes:
    kept, start, depth, is_cut = list[bytes](), 0, 0, False
    for found in _BRACKET.finditer(data):
        if found[0] in {b"{", b"["}:
            depth += 1
            if depth == DEPTH + 1:
                kept.append(data[start : found.start()])
        elif found[0] in {b"}", b"]"}:
            if depth == DEPTH + 1:
                kept.append(b"null")
                start, is_cut = found.end(), True
            elif depth == level and is_cut:
                kept += data[start : found.start()], _MARK
                start, is_cut = found.start(), False
            depth -= 1
    return b"".join((*kept, data[start:]))


def dumps(value: Any) -> bytes:
    """Encode a value as compact UTF-8 JSON.

    Raises:
        ValueError: a string has half a surrogate pair, or a number is NaN or infinite.
    """
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def decoder(forced: str = "") -> tuple[str, Decode]:
    """The decoder to use and its name: the forced one, else the fastest that is installed.

    Raises:
        ValueError: there is no decoder of the forced name, or it is not installed.
    """
    known: dict[str, Callable[[], Decode]] = {"orjson": _orjson, "msgspec": _msgspec, "json": _standard}
    if forced and forced not in known:
        raise ValueError(f"{FORCED_BY}: must be one of {', '.join(sorted(known))}, found {forced!r}; or leave it unset")
    name = forced or next(name for name in known if find_spec(name) is not None)
    if find_spec(name) is None:
        raise ValueError(f"{FORCED_BY}: asks for {name}, which is not installed; install it, or leave it unset")
    return name, known[name]()


def _orjson() -> Decode:
    decode: Decode = import_module("orjson").loads
    return decode


def _msgspec() -> Decode:
    decode: Decode = import_module("msgspec.json").Decoder().decode
    return decode


def _standard() -> Decode:
    whole = JSONDecoder(parse_constant=_refuse_constant)
    scan = whole.scan_once  # type: ignore[attr-defined]

    def strictly(data: bytes) -> Any:
        # json.loads would let encoded surrogates pass, and with them strings that cannot be sent back.
        text = data.decode()
        try:
            value, end = scan(text, 0)
        except StopIteration:
            value, end = None, -1
        if end != len(text):
            # Blanks around the value, or an error to be put in words: rare, and slower.
            value = whole.decode(text)
        if b"\\ud" in data or b"\\uD" in data:
            json.dumps(value, ensure_ascii=False).encode()
        return value

    return strictly


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"JSON: {name} is no JSON number")


class LineSplitter:
    """Cuts a byte stream into lines, copying each byte at most twice.

    Stream readers of asyncio and aiohttp refuse lines above 64 KiB and a few MiB, and an object may be larger.
    """

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._pending = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes, without their newline; blank ones are left out.

        Raises:
            ValueError: the line that has not ended yet is above the limit.
        """
        head, *rest = chunk.split(b"\n")
        if not rest:
            self._keep(head)
            return []
        if self._parts:
            self._parts.append(head)
            head = b"".join(self._parts)
            self._parts, self._pending = [], 0
        last = rest.pop()
        if last:
            self._keep(last)
        return [line for line in (head, *rest) if line and not line.isspace()]

    def _keep(self, part: bytes) -> None:
        self._parts.append(part)
        self._pending += len(part)
        if self._pending > self._limit:
            raise ValueError(f"line: must have at most {self._limit} bytes, found {self._pending} and no end")

    @property
    def pending(self) -> int:
        """Bytes of a line that has not ended yet."""
        return self._pending


DECODER, _decode = decoder(os.environ.get(FORCED_BY, ""))
"""The name of the decoder in use."""
