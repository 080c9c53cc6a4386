"""Bytes to objects and back: JSON, and the line framing of watch streams."""

from __future__ import annotations

import json
from typing import Any


def loads(data: bytes | str) -> Any:
    """Decode one JSON value.

    Raises:
        ValueError: it is no JSON.
    """
    return json.loads(data)


def dumps(value: Any) -> bytes:
    """Encode a value as compact UTF-8 JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


class LineSplitter:
    """Cuts a byte stream into lines of any length, copying each byte at most twice.

    Stream readers of asyncio and aiohttp refuse lines above a limit, and an object may be megabytes.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes, without their newline; blank ones are left out."""
        head, *rest = chunk.split(b"\n")
        self._parts.append(head)
        if not rest:
            return []
        lines = [b"".join(self._parts), *rest[:-1]]
        self._parts = [rest[-1]]
        return [line for line in lines if line.strip()]

    @property
    def pending(self) -> int:
        """Bytes of a line that has not ended yet."""
        return sum(len(part) for part in self._parts)
