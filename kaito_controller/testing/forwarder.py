"""A wire that can be cut: a TCP forwarder on loopback between a client and a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from attrs import define, field

CHUNK = 65536


@define
class Forwarder:
    """Forwards every connection to one port of this machine, until it is told not to.

    While it is cut, connections are taken and stay open, and not a byte goes through: what a firewall that drops
    packets looks like.
    """

    target_port: int
    port: int = field(init=False, default=0)
    _whole: asyncio.Event = field(init=False, factory=asyncio.Event)
    _open: set[asyncio.StreamWriter] = field(init=False, factory=set)

    def cut(self) -> None:
        """Let nothing through, in either direction."""
        self._whole.clear()

    def mend(self) -> None:
        """Let everything through again, what was held back included."""
        self._whole.set()

    def reset(self) -> None:
        """Break every open connection."""
        for writer in tuple(self._open):
            writer.transport.abort()

    def kubeconfig(self, original: Path, folder: Path) -> Path:
        """A kubeconfig that goes through this wire."""
        path = folder / f"through-{self.port}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(original.read_text().replace(f":{self.target_port}", f":{self.port}"))
        return path

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until either side closes it."""
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, back}
        try:
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        finally:
            self._open -= {writer, back}
            writer.transport.abort()
            back.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(CHUNK):
                await self._whole.wait()
                sink.write(data)
                await sink.drain()
        sink.transport.abort()


@asynccontextmanager
async def forwarding(target_port: int) -> AsyncIterator[Forwarder]:
    """Run a forwarder for as long as the context lasts."""
    forwarder = Forwarder(target_port)
    forwarder.mend()
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            await forwarder.serve(reader, writer)
        except asyncio.CancelledError:
            return
        finally:
            handlers.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    forwarder.port = server.sockets[0].getsockname()[1]
    try:
        yield forwarder
    finally:
        server.close()
        forwarder.reset()
        for handler in tuple(handlers):
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
