"""A token for a hub or a registry: sent where it belongs, and shown nowhere."""

from __future__ import annotations

from typing import Final, Self

from attrs import field, frozen

from kaito_controller.sources.errors import malformed

LIMIT: Final = 16_384
"""Characters; a registry's signed tokens have a few thousand."""


@frozen
class Token:
    """The secret text itself is in neither `str` nor `repr`."""

    value: str = field(repr=False)

    @classmethod
    def parse(cls, text: str, *, what: str) -> Self:
        """A token as a file or an environment holds it, with or without a line's end.

        Raises:
            SourceError: it cannot be sent in a header; the message does not repeat it.
        """
        value = text.strip()
        if not value or len(value) > LIMIT or not all("!" <= character <= "~" for character in value):
            rule = "must be a token of visible ASCII characters, without spaces"
            raise malformed(f"{what}: {rule}; what is there is empty, too long or has others: write it again")
        return cls(value)

    def __str__(self) -> str:
        return "Token(hidden)"
