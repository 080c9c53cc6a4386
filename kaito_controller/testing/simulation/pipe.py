"""One end of a simulated connection: bytes that arrive now or later, and how it ends."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from attrs import define, field

from kaito_controller.machinery.errors import ApiTimeoutError


@define(eq=False)
class Pipe:
    """Bytes on their way from a server to one reader."""

    is_joined: bool = False
    _pieces: deque[bytes] = field(init=False, factory=deque)
    _error: Exception | None = field(init=False, default=None)
    _is_ended: bool = field(init=False, default=False)
    _news: asyncio.Event = field(init=False, factory=asyncio.Event)

    @property
    def is_ended(self) -> bool:
        """Whether nothing will come any more."""
        return self._is_ended

    def push(self, data: bytes) -> None:
        """Have bytes arrive."""
        self._pieces.append(data)
        self._news.set()

    def end(self, error: Exception | None = None) -> None:
        """Have the connection end, after what has arrived was read; with an error when it breaks."""
        if not self._is_ended:
            self._is_ended, self._error = True, error
            self._news.set()

    async def chunks(self, idle_timeout_s: float | None = None) -> AsyncIterator[bytes]:
        """What arrives, in the pieces in which it came or, joined, as much as is there."""
        while True:
            while self._pieces:
                if self.is_joined:
                    data = b"".join(self._pieces)
                    self._pieces.clear()
                    yield data
                else:
                    yield self._pieces.popleft()
            if self._is_ended:
                break
            self._news.clear()
            try:
                async with asyncio.timeout(idle_timeout_s):
                    await self._news.wait()
            except TimeoutError as error:
                raise ApiTimeoutError(f"nothing for {idle_timeout_s} s") from error
        if self._error is not None:
            raise self._error
