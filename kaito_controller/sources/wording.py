"""Values from outside, made fit to stand in a message."""

from __future__ import annotations

from typing import Any, Final

SHOWN: Final = 80
"""Characters of a foreign text that a message repeats."""


def shown(value: Any) -> str:
    """A decoded value in a few words: texts in quotes, cut, and with all that a terminal would obey escaped."""
    if isinstance(value, str):
        return repr(value if len(value) <= SHOWN else value[:SHOWN] + "…")
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value) if abs(value) < 10**30 else "a number of more than 30 digits"
    return f"a list of {len(value)}" if isinstance(value, list | tuple) else "an object"


def listed(names: list[str] | tuple[str, ...], limit: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(shown(name) for name in names[:limit]) + more


def size_text(size: int) -> str:
    """Bytes as people say them, in binary units."""
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
