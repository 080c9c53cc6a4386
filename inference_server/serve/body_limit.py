"""A bound for the body of a request: vLLM reads a body whole before it looks at it, however long it is.

With the queue's guard around this layer, all bodies together are bounded too.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from attrs import define, frozen

from inference_server.refusal import InputError
from inference_server.serve.asgi import Application, Message, Receive, Scope, Send, refused, reply

# Room for a million tokens as text, or a dozen photographs in base64.
MAX_BODY_BYTES: Final = 64 * 1024 * 1024
TOO_LARGE: Final = 413


@define
class _Bounded:
    """The two ends of one request whose length is not told in front."""

    receive: Receive
    send: Send
    limit_bytes: int
    bytes_read: int = 0
    started: bool = False

    @property
    def is_over(self) -> bool:
        return self.bytes_read > self.limit_bytes

    async def receive_counted(self) -> Message:
        """What comes next; above the limit the client has gone away, as far as the application knows."""
        if self.is_over:
            return {"type": "http.disconnect"}
        message = await self.receive()
        self.bytes_read += len(message.get("body", b""))
        return {"type": "http.disconnect"} if self.is_over else message

    async def send_if_wanted(self, message: Message) -> None:
        """What the application makes of a client that is gone is not sent."""
        if self.started or not self.is_over:
            self.started = True
            await self.send(message)


@frozen
class BodyLimit:
    """The layer itself. vLLM makes one around its application, by the name given with `--middleware`."""

    app: Application
    limit_bytes: int = MAX_BODY_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 413 to a body above the limit, as soon as its length is known."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        told = _told_length(scope)
        if told is None:
            await self._counted(scope, receive, send)
        elif told > self.limit_bytes:
            await self._refuse(send)
        else:
            await self.app(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        bounded = _Bounded(receive, send, self.limit_bytes)
        try:
            await self.app(scope, bounded.receive_counted, bounded.send_if_wanted)
        except Exception:
            if not bounded.is_over:
                raise
        if bounded.is_over and not bounded.started:
            await self._refuse(send)

    async def _refuse(self, send: Send) -> None:
        rule = f"at most {self.limit_bytes} bytes"
        # What is still on its way need not be read on a connection that closes.
        close = ((b"connection", b"close"),)
        await reply(refused(TOO_LARGE, InputError(field="body", rule=rule, found="more"), headers=close), send)


def _told_length(scope: Scope) -> int | None:
    value: Any = next((value for name, value in scope["headers"] if name == b"content-length"), None)
    with suppress(TypeError, ValueError):
        return int(value)
    return None
