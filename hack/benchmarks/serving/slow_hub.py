"""A hub that takes its time: it speaks the real one's format and sends weights evenly over so many seconds."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from aiohttp import web
from attrs import define, field

from kaito_controller.testing.loopback import listening
from kaito_controller.testing.sources.hub import FakeHub, is_large
from kaito_controller.testing.threaded import threaded

NAME: Final = "acme/tiny"
SOURCE: Final = f"hf://{NAME}"
DOWNLOAD_S: Final = 20.0
# Far below the ten seconds after which the agent takes a silent hub for one that is away.
_PIECE_S: Final = 0.5


@define(kw_only=True)
class SlowHub:
    """The hub, and when on the monotonic clock weights were first asked for and last sent."""

    hub: FakeHub
    url: str = field(init=False, default="")
    asked_at: float = field(init=False, default=math.inf)
    sent_at: float = field(init=False, default=0.0)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Serve one request."""
        whole = await self.hub.answer(request)
        if not _fetches(request) or not isinstance(whole, web.Response):
            return whole
        self.asked_at = min(self.asked_at, time.monotonic())
        slow = web.StreamResponse(status=whole.status, headers=whole.headers)
        await slow.prepare(request)
        body = whole.body if isinstance(whole.body, bytes) else b""
        step = math.ceil(len(body) * _PIECE_S / DOWNLOAD_S)
        for begin in range(0, len(body), step or 1):
            await asyncio.sleep(_PIECE_S)
            await slow.write(body[begin : begin + step])
        await slow.write_eof()
        self.sent_at = time.monotonic()
        return slow


def _fetches(request: web.Request) -> bool:
    """Whether weights themselves are asked for: of a range that ends somewhere only a header is read."""
    is_header = request.headers.get("Range", "")[-1:].isdigit()
    return request.method == "GET" and is_large(request.path) and not is_header


@contextmanager
def slow_hub(model: Path, address: str = "127.0.0.1") -> Iterator[SlowHub]:
    """A hub with the files of one model, called NAME, on an address of this machine."""
    files = {path.name: path.read_bytes() for path in model.iterdir() if path.is_file()}
    hub = SlowHub(hub=FakeHub(models={NAME: files}))
    with threaded(listening(hub.answer, address=address)) as url:
        hub.url = url
        yield hub
