"""A model's files at one revision, wherever they are: their names and sizes, and how to read a little of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Files(Protocol):
    """The files of one model, in one folder."""

    @property
    def model_id(self) -> str:
        """The model, as it was asked for."""
        ...

    @property
    def revision(self) -> str:
        """What was resolved; empty when what is read is all that can tell."""
        ...

    @property
    def source(self) -> str:
        """Where they are, for a person."""
        ...

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of each file by its name; those of subfolders are not among them."""
        ...

    async def whole(self, name: str, limit_bytes: int) -> bytes:
        """All of a file. Raises SourceError, also when it is longer than the limit: then it is not read."""
        ...

    async def part(self, name: str, start: int, length: int) -> bytes:
        """That many bytes from there on, fewer only where the file ends. Raises SourceError."""
        ...
