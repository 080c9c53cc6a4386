"""A server on loopback that answers with bytes as a test writes them, for faults that no HTTP library commits."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import Enum, auto

from attrs import define, field


class Fault(Enum):
    """What a connection does instead of sending more bytes."""

    RESET = auto()
    """End with a TCP reset."""
    SILENCE = auto()
    """Stay open and say nothing until the server ends."""


Step = bytes | Fault
Script = Sequence[Step]
"""What one request is answered with, step by step; then the connection closes in order."""


@define
class RawServer:
    """Answers each request with the next script and writes down its head; with none left it resets."""

    scripts: deque[Script] = field(factory=deque)
    heads: list[bytes] = field(init=False, factory=list)
    url: str = field(init=False, default="")
    asked: asyncio.Event = field(init=False, factory=asyncio.Event)
    """Set once a request has arrived."""
    _ended: asyncio.Event = field(init=False, factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection for one request."""
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            self.asked.set()
            for step in self.scripts.popleft() if self.scripts else [Fault.RESET]:
                if isinstance(step, bytes):
                    writer.write(step)
                    await writer.drain()
                elif step is Fault.SILENCE:
                    await self._ended.wait()
                else:
                    _reset(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client went away, as it may
        finally:
            writer.close()

    def end(self) -> None:
        """Let connections that stay silent end."""
        self._ended.set()


@asynccontextmanager
async def raw_server(*scripts: Script) -> AsyncIterator[RawServer]:
    """A listening server with these scripts."""
    played = RawServer(deque(scripts))
    server = await asyncio.start_server(played.answer, "127.0.0.1", 0)
    played.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield played
    finally:
        played.end()
        server.close()


def ok(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A whole answer with this body."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


def chunked(*parts: bytes) -> list[bytes]:
    """The start of an answer without an end: its head, and each part as a chunk."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return [head, *(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts)]


END = b"0\r\n\r\n"
"""The end of chunks."""


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    # Lingering for no time at all makes the kernel send RST instead of FIN.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
