"""A clean end: after SIGTERM readiness drops first, requests in flight finish, and only then the engine is stopped.

vLLM 0.32 can wait for running requests (`--shutdown-timeout`), but from the signal on it answers new ones with an empty
text and status 200, /health still says 200, and its tokenizer is gone for a request that had not reached the engine. So
this layer takes the signal, waits, and then tells vLLM's HTTP server to end, as vLLM's own watchdog does.
"""

from __future__ import annotations

import asyncio
import signal
from enum import Enum, auto
from typing import Any, Final

from attrs import define, field

from inference_server import contract
from inference_server.notice import tell
from inference_server.refusal import InputError
from inference_server.serve.asgi import Application, Message, Receive, Scope, Send, path_of, refused, reply

UNAVAILABLE: Final = 503
CLOSE: Final = (b"connection", b"close")


class Phase(Enum):
    """How far the end is."""

    SERVING = auto()
    LEAVING = auto()  # not ready any more, but whoever has not heard of it is still served
    CLOSING = auto()  # nothing new is taken


@define
class Drain:
    """The layer itself. vLLM makes one around its application, by the name given with `--middleware`.

    `ended_by` is the number of the signal that began the end.
    """

    app: Application
    leave_s: float = contract.ENDPOINT_REMOVAL_SECONDS
    limit_s: float = contract.DRAIN_SECONDS
    phase: Phase = Phase.SERVING
    ended_by: int | None = None
    _running: set[asyncio.Task[Any]] = field(factory=set)
    _ending: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Counts the request while it runs; refuses it once the end is near."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, self._after_start(scope, send))
        elif self.phase is Phase.SERVING:
            await self._run(scope, receive, send)
        else:
            await self._late(scope, receive, send)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (uvicorn runs every request in a task of its own)
        self._running.add(task)
        try:
            await self.app(scope, receive, send)
        finally:
            self._running.discard(task)

    async def _late(self, scope: Scope, receive: Receive, send: Send) -> None:
        healthy = scope["type"] == "http" and path_of(scope) == contract.HEALTH_PATH
        if self.phase is Phase.LEAVING and not healthy:
            await self._run(scope, receive, _closing(send))
        elif scope["type"] == "http":
            refusal = InputError(field="server", rule="serving", found="a server that is about to end")
            await reply(refused(UNAVAILABLE, refusal, headers=(CLOSE, (b"retry-after", b"1"))), send)
        else:
            # RFC 6455: 1001 says that the server is going away.
            await send({"type": "websocket.close", "code": 1001})

    def _after_start(self, scope: Scope, send: Send) -> Send:
        async def send_and_listen(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._listen(scope)
            await send(message)

        return send_and_listen

    def _listen(self, scope: Scope) -> None:
        """Takes the signals over from vLLM, which has set its handlers just before."""
        server = getattr(scope["app"].state, "server", None)
        if server is None:
            tell("this vLLM does not tell its HTTP server: requests in flight are cut when it ends")
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.begin, server, number)

    def begin(self, server: Any, number: int) -> None:
        """Begins the end; a second signal ends the waiting. An interrupt comes from a person, whom no router feeds."""
        if self._ending is not None:
            self._ending.cancel()
            self._finish(server)
            return
        self.phase = Phase.LEAVING
        self.ended_by = number
        leave_s = self.leave_s if number == signal.SIGTERM else 0
        tell(f"ending: not ready from now on, {len(self._running)} requests in flight")
        self._ending = asyncio.get_running_loop().create_task(self._end(server, leave_s))

    async def _end(self, server: Any, leave_s: float) -> None:
        await asyncio.sleep(leave_s)
        self.phase = Phase.CLOSING
        if self._running:
            await asyncio.wait(self._running, timeout=self.limit_s - leave_s)
        self._finish(server)

    def _finish(self, server: Any) -> None:
        self.phase = Phase.CLOSING
        if self._running:
            tell(f"ending: {len(self._running)} requests are cut")
        for task in list(self._running):
            task.cancel()
        server.should_exit = True


def _closing(send: Send) -> Send:
    """Asks the client to leave this connection after the answer, so that its next request is routed anew."""

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), CLOSE]}
        await send(message)

    return send_and_close
