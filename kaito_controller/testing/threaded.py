"""A server on loopback in a thread of its own, for clients that block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@contextmanager
def threaded(server: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """What a server gives, such as its URL, while it runs in a thread of its own for as long as the block lasts."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server of a test", daemon=True)
    thread.start()
    try:
        yield _done(server.__aenter__(), loop)
    finally:
        _done(server.__aexit__(None, None, None), loop)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=30)
        loop.close()


def _done(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    return asyncio.run_coroutine_threadsafe(work, loop).result(timeout=30)


class InstantClock:
    """Time for those who block: a wait passes at once, and is written down."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.waits: list[float] = []
        self.now_s = 0.0

    def monotonic(self) -> float:
        """The seconds that were waited for."""
        return self.now_s

    def time(self) -> float:
        """The same, as seconds since 1970."""
        return self.now_s

    def sleep(self, seconds: float, /) -> None:
        """Let that many seconds pass."""
        self.waits.append(seconds)
        self.now_s += seconds

    def random(self) -> float:
        """Always the same."""
        return 0.5
