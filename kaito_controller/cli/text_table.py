"""Tables of plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

WIDTH: Final = 120
"""Characters of a line; names and sentences that are longer are wrapped, numbers are not."""
GAP: Final = "   "
NARROWEST: Final = 20
"""A last column is wrapped to no less than this."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table, columns aligned; what is too long of the last column goes on below itself."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header) - 1)]
    begin = sum(width + len(GAP) for width in widths)
    room = max(NARROWEST, WIDTH - begin)
    for line in lines:
        start = "".join(cell.ljust(width) + GAP for cell, width in zip(line, widths, strict=False))
        last, *more = textwrap.wrap(line[-1], room, break_long_words=False, break_on_hyphens=False) or [""]
        yield (start + last).rstrip()
        yield from (" " * begin + text for text in more)
