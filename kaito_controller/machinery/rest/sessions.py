"""The connections of a transport: one set for calls, one for watches, replaced as a whole when TLS has to change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from attrs import define, field

CALL_CONNECTIONS = 32
"""Calls at a time; more of them wait. Watches have connections of their own, without a limit, and starve no call."""

Factory = Callable[[int], Any]
"""Makes a REST client of kubernetes_asyncio with this many connections at most; 0 for no limit."""


@define(kw_only=True)
class Sessions:
    """REST clients that share one TLS configuration. They close when they are retired and nobody uses them."""

    calls: Any
    watches: Any
    in_use: int = field(init=False, default=0)
    _retired: bool = field(init=False, default=False)

    @classmethod
    def make(cls, factory: Factory) -> Sessions:
        """Make both.

        Raises:
            OSError, ValueError: the certificates cannot be used (`ssl.SSLError` is an OSError).
        """
        return cls(calls=factory(CALL_CONNECTIONS), watches=factory(0))

    @asynccontextmanager
    async def used(self) -> AsyncIterator[None]:
        """Keep them open while the context lasts."""
        self.in_use += 1
        try:
            yield
        finally:
            self.in_use -= 1
            if self._retired and not self.in_use:
                await self.close()

    async def retire(self, *, cut_watches: bool) -> None:
        """Close once the last request ends, or at once when there is none.

        Args:
            cut_watches: end the watches now. They would go on for minutes as whom we no longer want to be; their
                readers open them again over the new connections. Calls end by themselves in seconds.
        """
        self._retired = True
        if cut_watches:
            await self.watches.close()
        if not self.in_use:
            await self.close()

    async def close(self) -> None:
        """Close every connection now."""
        await self.calls.close()
        await self.watches.close()
