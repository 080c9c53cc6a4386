"""Reads CSV data as RFC 4180 writes it: commas, quotes doubled, the first line names the columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from inference_server.tune.rows import MAX_ROW_BYTES, SAVE_AS_UTF8, TOO_LONG, Fault, Row


def read(path: Path, name: str) -> Iterator[Row | Fault]:
    """The rows of one file, with `name` and the line a row begins in as their places."""
    csv.field_size_limit(MAX_ROW_BYTES)
    with path.open("rb") as file:
        texts = _Texts(file)
        reader = csv.reader(texts, strict=True)
        header: list[str] | None = None
        while True:
            place = f"{name}:{reader.line_num + 1}"
            texts.row_bytes = 0
            try:
                cells = next(reader, None)
            except _TooLongError:
                yield Fault(place, f"{TOO_LONG}, or close the quote that is open since this line")
                return
            except csv.Error as error:
                yield Fault(place, _problem(error))
                continue
            if cells is None:
                return
            broken = next((problem for cell in cells if (problem := _encoding_problem(cell))), None)
            if header is None and cells:
                header = cells
                if problem := broken or _header_problem(header):
                    yield Fault(place, problem)
                    return
            elif broken:
                yield Fault(place, broken)
            elif header is not None and cells:
                yield _row(place, header, cells)


class _TooLongError(Exception):
    """A row does not end."""


class _Texts:
    """The lines as text, in pieces that are no longer than a row may be.

    What is not UTF-8 becomes a mark that tells it later, so that the rest of the file is looked at as well.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._encoding = "utf-8-sig"
        self.row_bytes = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline(MAX_ROW_BYTES + 1)
        self.row_bytes += len(line)
        if self.row_bytes > MAX_ROW_BYTES:
            raise _TooLongError
        if not line:
            raise StopIteration
        encoding, self._encoding = self._encoding, "utf-8"
        return line.decode(encoding, "surrogateescape")


def _row(place: str, header: list[str], cells: list[str]) -> Row | Fault:
    if len(cells) != len(header):
        return Fault(
            place, f"{len(cells)} fields where the header has {len(header)}; put fields that hold commas into quotes"
        )
    return Row(place, dict(zip(header, cells, strict=True)))


def _header_problem(header: list[str]) -> str:
    if len(set(header)) != len(header):
        return "the header names a column twice"
    if any(len(one) > 256 or "\n" in one for one in header):  # noqa: PLR2004 (no name of a column is that long)
        return "the first line is no header; name the columns in it"
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        return "one column only, with `;` or tabs in its name; separate the fields by commas"
    return ""


def _encoding_problem(cell: str) -> str:
    try:
        cell.encode("utf-8")
    except UnicodeEncodeError as error:
        byte = ord(cell[error.start]) - 0xDC00
        if 0x80 <= byte <= 0xFF:  # noqa: PLR2004 (the bytes that surrogateescape stands for)
            return f"not UTF-8: the byte 0x{byte:02x}; {SAVE_AS_UTF8}"
        return f"not UTF-8; {SAVE_AS_UTF8}"
    return ""


def _problem(error: csv.Error) -> str:
    told = str(error)
    if "unexpected end" in told:
        return "the file ends inside quotes; close the quote that is open since this line"
    return f"not CSV: {told}"
