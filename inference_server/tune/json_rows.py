"""Reads JSON data: one object a line, or one list of objects, of any length in bounded memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from inference_server.refusal import shown
from inference_server.tune.rows import (
    DECODER,
    MAX_ROW_BYTES,
    SAVE_AS_UTF8,
    TOO_LONG,
    Fault,
    Row,
    encoding_problem,
    lines,
    parse_json,
)

_CHUNK_BYTES: Final = 256 * 1024
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_OBJECTS: Final = "an object with the columns of the row is needed"


def read(path: Path, name: str) -> Iterator[Row | Fault]:
    """The rows of one file, with `name` in their places. A file that begins with `[` is one list."""
    with path.open("rb") as file:
        head = file.read(1024).removeprefix(codecs.BOM_UTF8).lstrip()
        file.seek(0)
        yield from _List(file, name).rows() if head.startswith(b"[") else _lines(file, name)


def _lines(file: BinaryIO, name: str) -> Iterator[Row | Fault]:
    for number, line in enumerate(lines(file), start=1):
        place = f"{name}:{number}"
        if line is None:
            yield Fault(place, TOO_LONG)
            continue
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            yield Fault(place, encoding_problem(error))
            continue
        if text.strip():
            yield _row(place, text)


def _row(place: str, text: str) -> Row | Fault:
    try:
        value = parse_json(text)
    except ValueError as error:
        return Fault(place, str(error))
    return Row(place, value) if isinstance(value, dict) else Fault(place, f"{_OBJECTS}, found {shown(value, 40)}")


class _List:
    """Takes one element after the other from a list that need not fit into memory."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._buffer = ""
        self._at = 0
        self._line = 1
        self._ended = False

    def rows(self) -> Iterator[Row | Fault]:
        try:
            yield from self._elements()
        except UnicodeDecodeError as error:
            before = self._buffer.count("\n", self._at) + error.object[: error.start].count(b"\n")
            byte = error.object[error.start]
            yield Fault(f"{self._name}:{self._line + before}", f"not UTF-8: the byte 0x{byte:02x}; {SAVE_AS_UTF8}")

    def _elements(self) -> Iterator[Row | Fault]:
        self._peek()
        self._move(self._at + 1)  # the `[` that read() has seen
        if self._peek() == "]":
            yield from self._rest()
            return
        while True:
            if self._peek() != "{":
                yield Fault(self._place(), f"{_OBJECTS}, found {shown(self._buffer[self._at : self._at + 20])}")
                return
            found = self._object()
            yield found
            if isinstance(found, Fault):
                return
            mark = self._peek()
            if mark == "]":
                yield from self._rest()
                return
            if mark != ",":
                yield Fault(self._place(), "not JSON: after an object, `,` or the list's end `]` is missing")
                return
            self._move(self._at + 1)

    def _rest(self) -> Iterator[Fault]:
        """After the list's end: nothing, lest rows go missing without a word."""
        self._move(self._at + 1)
        if self._peek():
            yield Fault(self._place(), "more stands after the end of the list; write one list, or one object a line")

    def _object(self) -> Row | Fault:
        wanted = _CHUNK_BYTES
        while True:
            try:
                value, end = DECODER.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                # Perhaps only the rest of it is missing: look again with twice as much.
                if self._ended:
                    line = self._line + self._buffer.count("\n", self._at, error.pos)
                    return Fault(f"{self._name}:{line}", f"not JSON: {error.msg} at column {error.colno}")
                if wanted > MAX_ROW_BYTES:
                    return Fault(self._place(), f"not JSON, or {TOO_LONG}")
                self._fill(wanted)
                wanted *= 2
            except (ValueError, RecursionError) as error:
                told = "nested too deep" if isinstance(error, RecursionError) else str(error)
                return Fault(self._place(), f"not read: {told}")
            else:
                place = self._place()
                self._move(end)
                return Row(place, value)

    def _peek(self) -> str:
        """The next letter that is no space, or nothing at the end of the file; reading goes on from it."""
        while True:
            space = _SPACE.match(self._buffer, self._at)
            self._move(space.end() if space else self._at)
            if self._at < len(self._buffer) or self._ended:
                return self._buffer[self._at : self._at + 1]
            self._fill(_CHUNK_BYTES)

    def _fill(self, wanted: int) -> None:
        raw = self._file.read(wanted)
        self._ended = len(raw) < wanted
        self._buffer = self._buffer[self._at :] + self._decoder.decode(raw, final=self._ended)
        self._at = 0

    def _move(self, to: int) -> None:
        self._line += self._buffer.count("\n", self._at, to)
        self._at = to

    def _place(self) -> str:
        return f"{self._name}:{self._line}"
