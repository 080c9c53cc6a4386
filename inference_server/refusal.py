"""What our programs say no to, in four parts: which field, which rule, what was found, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from attrs import frozen

from inference_server import contract


@frozen(kw_only=True)
class InputError(Exception):
    """An input that cannot be accepted. `exit_code` is what the process ends with when it comes up before serving."""

    field: str
    rule: str
    found: str
    remedy: str = ""
    exit_code: int = contract.EXIT_USAGE

    def __str__(self) -> str:
        """One line: `field: rule, found …; remedy`."""
        told = f"{self.field}: {self.rule}, found {self.found}"
        whole = f"{told}; {self.remedy}" if self.remedy else told
        return "".join(letter if letter.isprintable() else " " for letter in whole)


def shown(value: object, limit: int = 80) -> str:
    """The value as a reader may see it: its JSON-like form, cut at `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean …?` for the known names most like `name`, or nothing when none is."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else ""
