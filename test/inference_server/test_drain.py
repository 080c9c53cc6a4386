from __future__ import annotations

import asyncio
import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import define, field

from inference_server.serve.drain import Drain, Phase


@define
class Answering:
    """An application that answers when it is let go, and lets its lifespan pass."""

    gate: asyncio.Event = field(factory=asyncio.Event)
    cut: int = 0

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.startup.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cut += 1
            raise
        await send({"type": "http.response.body", "body": b"whole"})


@define
class Scene:
    """The layer around an application that has started, and vLLM's HTTP server beside it."""

    leave_s: float = 0.0
    limit_s: float = 60.0
    inner: Answering = field(factory=Answering)
    server: Any = field(factory=lambda: SimpleNamespace(should_exit=False))
    layer: Any = None

    async def started(self) -> Scene:
        self.layer = Drain(self.inner, leave_s=self.leave_s, limit_s=self.limit_s)
        app = SimpleNamespace(state=SimpleNamespace(server=self.server))
        await self.layer({"type": "lifespan", "app": app}, None, self._ignore)
        return self

    async def _ignore(self, message: Any) -> None:
        assert message["type"] == "lifespan.startup.complete"

    async def ask(self, path: str = "/v1/completions", kind: str = "http") -> list[Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await self.layer({"type": kind, "path": path, "headers": []}, None, send)
        return sent

    async def reached(self, phase: Phase) -> None:
        """Runs until the layer is that far."""
        async with asyncio.timeout(10):
            while self.layer.phase is not phase:  # noqa: ASYNC110 (the layer has nobody to tell)
                await asyncio.sleep(0)

    async def ended(self) -> None:
        """Runs until the layer has told the server to end."""
        async with asyncio.timeout(10):
            await asyncio.gather(self.layer._ending, return_exceptions=True)
        assert self.server.should_exit


@pytest.fixture
async def handlers() -> Any:
    """Whatever handlers a test leaves on the loop are taken away again."""
    yield
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)


async def test_what_runs_is_answered_before_the_end(handlers: None):
    """The signal comes amid an answer: the server ends after it, not before."""
    scene = await Scene().started()
    task = asyncio.create_task(scene.ask())
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    await scene.reached(Phase.CLOSING)
    assert not scene.server.should_exit
    scene.inner.gate.set()
    sent = await task
    assert [message.get("body") for message in sent] == [None, b"whole"]
    await scene.ended()
    assert scene.inner.cut == 0


async def test_readiness_drops_first_and_late_comers_are_served(handlers: None):
    """While routers still send, /health says 503; others are answered and asked to leave the connection."""
    scene = await Scene(leave_s=60.0).started()
    scene.inner.gate.set()
    scene.layer.begin(scene.server, signal.SIGTERM)
    assert (await scene.ask("/health"))[0]["status"] == 503
    start, body = await scene.ask()
    assert (start["status"], body["body"]) == (200, b"whole")
    assert (b"connection", b"close") in start["headers"]
    assert (b"a", b"b") in start["headers"]
    assert not scene.server.should_exit
    scene.layer.begin(scene.server, signal.SIGTERM)
    await scene.ended()


async def test_near_the_end_nothing_new_is_taken(handlers: None):
    """A clean 503, on a connection that closes, instead of an answer that is cut."""
    scene = await Scene().started()
    running = asyncio.create_task(scene.ask())
    await asyncio.sleep(0)
    scene.layer.begin(scene.server, signal.SIGTERM)
    await scene.reached(Phase.CLOSING)
    start, _ = await scene.ask()
    assert start["status"] == 503
    assert {(b"connection", b"close"), (b"retry-after", b"1")} <= set(start["headers"])
    assert (await scene.ask(kind="websocket")) == [{"type": "websocket.close", "code": 1001}]
    scene.inner.gate.set()
    await running
    await scene.ended()


async def test_an_answer_that_takes_for_ever_is_cut_at_the_limit(handlers: None, capsys: pytest.CaptureFixture[str]):
    """The kubelet would kill it: it is ended in order, and told."""
    scene = await Scene(limit_s=0.01).started()
    running = asyncio.create_task(scene.ask())
    await asyncio.sleep(0)
    scene.layer.begin(scene.server, signal.SIGTERM)
    await scene.ended()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert scene.inner.cut == 1
    assert "1 requests are cut" in capsys.readouterr().err


async def test_two_signals_at_once_end_it_at_once(handlers: None):
    """The second came before the waiting had begun, and cancelled it unseen: the server never ended."""
    scene = await Scene(leave_s=60.0).started()
    scene.layer.begin(scene.server, signal.SIGTERM)
    scene.layer.begin(scene.server, signal.SIGTERM)
    assert scene.server.should_exit


async def test_a_person_does_not_wait_for_routers(handlers: None):
    """An interrupt from the keyboard ends an idle server at once."""
    scene = await Scene(leave_s=60.0).started()
    os.kill(os.getpid(), signal.SIGINT)
    await scene.reached(Phase.CLOSING)
    await scene.ended()


async def test_without_vllms_server_the_signals_stay_vllms(capsys: pytest.CaptureFixture[str]):
    """Another version that hides its server ends as it likes; the log says what that means."""
    layer = Drain(Answering())

    async def send(message: Any) -> None:
        assert message["type"] == "lifespan.startup.complete"

    await layer({"type": "lifespan", "app": SimpleNamespace(state=SimpleNamespace())}, None, send)
    assert not asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    assert "cut when it ends" in capsys.readouterr().err
