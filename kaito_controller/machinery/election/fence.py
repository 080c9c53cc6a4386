"""Keeps a process that may have lost its leadership from writing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from attrs import frozen

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.errors import ApiConnectionError
from kaito_controller.machinery.transport import AioTransport

READS: Final = frozenset({"GET", "HEAD"})


class FencedError(ApiConnectionError):
    """A write was not sent: another process may lead by now."""


@frozen
class FencedTransport:
    """Passes everything on, but writes only while `may_write` says so.

    A process that was frozen for longer than its lease (SIGSTOP, a paused machine) goes on in the middle of what it
    did. client-go's leaders may then send a write or two before they notice; here the clock is asked before each, also
    when a busy server asked for it later, or it waited for its turn or for credentials.
    """

    transport: AioTransport
    may_write: Callable[[], bool]

    async def request(self, method: str, path: str, **options: Any) -> Object:
        """One call. Raises `FencedError` for a write that may not be made any more."""
        if method in READS:
            return await self.transport.request(method, path, **options)

        def permit() -> None:
            if not self.may_write():
                raise FencedError(f"{method} {path}: not sent, since this process has not renewed its lease in time")

        return await self.transport.request(method, path, permit=permit, **options)

    def stream(self, method: str, path: str, **options: Any) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open a long answer; reads only."""
        return self.transport.stream(method, path, **options)

    async def close(self) -> None:
        """Close what is behind it."""
        await self.transport.close()
