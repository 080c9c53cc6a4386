"""How far a transfer is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as bytes arrive or leave, in the thread that transfers them; it should return at once."""

    def __call__(self, bytes_done: int, bytes_total: int | None, /) -> None:
        """Say how many bytes are there, and of how many; None where the other side does not say.

        `bytes_done` may fall when a part has to be sent again.
        """


def silent(bytes_done: int, bytes_total: int | None, /) -> None:
    """Tell nobody."""
