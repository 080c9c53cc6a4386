"""What the readers of data files yield: rows, and the places where a file is broken."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final, NoReturn

from attrs import frozen

MAX_ROW_BYTES: Final = 16 * 2**20
"""Of one row. A context of 1 M tokens is about 4 MiB of English; what is above this is no example."""

_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


@frozen
class Row:
    """One row: where it stands (`train.jsonl:17`), and its columns by name."""

    place: str
    columns: Mapping[str, Any]


@frozen
class Fault:
    """One place where a file is broken, and how."""

    place: str
    problem: str

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}"


def lines(file: BinaryIO) -> Iterator[bytes | None]:
    """The lines of a file, None for one that is longer than a row may be: never more than that is in memory."""
    while line := file.readline(MAX_ROW_BYTES + 1):
        if len(line) <= MAX_ROW_BYTES:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_ROW_BYTES)
        yield None


SAVE_AS_UTF8: Final = "save the file as UTF-8"


def encoding_problem(error: UnicodeDecodeError) -> str:
    """What to say of bytes that are not UTF-8."""
    if error.object[:2] in _UTF16_MARKS:
        return f"this is UTF-16, and data is read as UTF-8; {SAVE_AS_UTF8}"
    byte = error.object[error.start]
    return f"not UTF-8: the byte 0x{byte:02x} at column {error.start + 1}; {SAVE_AS_UTF8}"


TOO_LONG: Final = f"longer than the {MAX_ROW_BYTES >> 20} MiB that a row may have; cut it into several rows"


def _no_constant(name: str) -> NoReturn:
    msg = f"{name} is no JSON"
    raise ValueError(msg)


DECODER: Final = json.JSONDecoder(parse_constant=_no_constant)


def parse_json(text: str) -> Any:
    """The value that a text holds. Raises ValueError, which says what is wrong, for what is not JSON."""
    try:
        return DECODER.decode(text)
    except json.JSONDecodeError as error:
        msg = f"not JSON: {error.msg} at column {error.colno}"
        raise ValueError(msg) from error
    except RecursionError as error:
        msg = "not read: nested too deep"
        raise ValueError(msg) from error
