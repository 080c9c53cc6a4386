"""The way from one simulated process to the API server, with everything that happens to requests on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any

from attrs import define, field, frozen

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery import codec
from kaito_controller.machinery.errors import ApiConnectionError, ApiConnectionLostError, ApiError, ApiTimeoutError
from kaito_controller.machinery.rest.retry import refusal, send_again
from kaito_controller.testing.fake.request import Request, Response
from kaito_controller.testing.fake.watch import Watch
from kaito_controller.testing.simulation import answers
from kaito_controller.testing.simulation.faults import CALL, Fault
from kaito_controller.testing.simulation.lines import Relay
from kaito_controller.testing.simulation.network import Network
from kaito_controller.testing.simulation.pipe import Pipe

OPENING_S = 30.0
"""Until a stream has to be answered, as in the real transport."""
STREAM_CALL = tuple(kind for kind in CALL if kind not in {Fault.LOST, Fault.LATE, Fault.DETOUR})
DONE_ALL_THE_SAME = {Fault.LOST, Fault.LATE, Fault.SLOW, Fault.DETOUR}


@frozen(kw_only=True)
class Call:
    """One request as a process makes it."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Object | None = None
    content_type: str = "application/json"
    accept: str = "application/json"

    def __str__(self) -> str:
        question = "&".join(f"{name}={value}" for name, value in self.query.items())
        return f"{self.method} {self.path}{'?' if question else ''}{question}"


@define(eq=False)
class Link:
    """The `Transport` of one process, retries of the real one included.

    Attributes:
        cut: asked before each message; whether this process is cut off from the server just now.
    """

    network: Network
    process: str
    cut: Callable[[], bool] = field(default=lambda: False)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout_s: float = 30,
        retry: bool = True,
    ) -> Object:
        """One call, tried again as the real transport does."""
        call = Call(method=method, path=path, query=query or {}, body=body, content_type=content_type, accept=accept)
        attempt = partial(self._attempt, call, timeout_s)
        if not retry:
            return await attempt()
        return await send_again(attempt, method=method, clock=self.network.clock)

    async def _attempt(self, call: Call, timeout_s: float) -> Object:
        """One try. The request travels and is answered whatever the caller does meanwhile."""
        net = self.network
        net.requests.append((net.clock.monotonic(), str(call)))
        answer: asyncio.Future[Object] = asyncio.get_running_loop().create_future()
        net.run(self._carry(call, timeout_s, answer), "request")
        with self._noted(call):
            try:
                async with asyncio.timeout(timeout_s):
                    return await answer
            except TimeoutError:
                raise ApiTimeoutError(f"{call}: no answer in time") from None

    async def _carry(self, call: Call, timeout_s: float, answer: asyncio.Future[Object]) -> None:
        net = self.network
        await net.clock.sleep(net.travel_s())
        fault = net.faults.draw(CALL, str(call))
        if self.cut() or fault is Fault.UNANSWERED:
            return
        refused = net.outage() or (answers.refusal(fault) if fault and fault not in DONE_ALL_THE_SAME else None)
        if refused is not None:
            _fail(answer, refused)
            return
        if fault is Fault.DETOUR:
            await net.clock.sleep(net.rng.random() * timeout_s)
        try:
            result = await self._served(call)
        except ApiError as error:
            await self._back(fault, timeout_s)
            _fail(answer, error)
            return
        await self._back(fault, timeout_s)
        if self.cut():
            return
        if fault is Fault.LOST:
            _fail(answer, ApiConnectionLostError(f"{call}: the connection broke"))
        elif not answer.done():
            answer.set_result(result)

    async def _back(self, fault: Fault | None, timeout_s: float) -> None:
        net = self.network
        seconds = net.travel_s()
        if fault is Fault.SLOW:
            seconds = net.rng.random() * timeout_s
        elif fault is Fault.LATE:
            seconds = timeout_s * (1 + net.rng.random())
        await net.clock.sleep(seconds)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
        idle_timeout_s: float | None = None,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a stream and mangle it on its way."""
        net = self.network
        call = Call(method=method, path=path, query=query or {}, accept=accept)
        net.requests.append((net.clock.monotonic(), str(call)))
        pipe = Pipe()
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pump = net.pump(self._feed(call, pipe, opened), pipe)
        try:
            with self._noted(call):
                try:
                    async with asyncio.timeout(OPENING_S):
                        await opened
                except TimeoutError:
                    raise ApiTimeoutError(f"{call}: no answer in time") from None
            yield pipe.chunks(idle_timeout_s)
        finally:
            pump.cancel()

    async def _feed(self, call: Call, pipe: Pipe, opened: asyncio.Future[None]) -> None:
        net = self.network
        await net.clock.sleep(net.travel_s())
        fault = net.faults.draw(STREAM_CALL, str(call))
        if self.cut() or fault is Fault.UNANSWERED:
            await asyncio.Event().wait()
        refused = net.outage() or (answers.refusal(fault) if fault and fault is not Fault.SLOW else None)
        if refused is not None:
            _fail(opened, refused)
            return
        if fault is Fault.SLOW:
            await net.clock.sleep(net.rng.random() * OPENING_S)
        try:
            watch = await self._watch(call)
        except ApiError as error:
            _fail(opened, error)
            return
        if not opened.done():
            opened.set_result(None)
        try:
            await Relay(net.clock, net.rng, net.faults, self.cut).run(watch, pipe)
        finally:
            watch.close()
        pipe.end()

    async def close(self) -> None:
        """There is nothing to close."""

    async def _served(self, call: Call) -> Object:
        """What the server makes of a request, as JSON so that no object is shared with it."""
        response = await self.network.server.handle(self._request(call))
        data = _encoded(response)
        if response.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise refusal(response.status, "", response.headers, data)
        return dict(codec.loads(data))

    async def _watch(self, call: Call) -> Watch:
        response = await self.network.server.handle(self._request(call))
        if response.stream is None:
            raise refusal(response.status, "", response.headers, _encoded(response))
        return response.stream

    def _request(self, call: Call) -> Request:
        return Request(
            method=call.method,
            path=call.path,
            query=dict(call.query),
            body=None if call.body is None else codec.loads(codec.dumps(call.body)),
            content_type=call.content_type,
            accept=call.accept,
            user_agent=self.process or "simulation",
            at=self.network.clock.monotonic(),
        )

    @contextmanager
    def _noted(self, call: Call) -> Iterator[None]:
        """Note how a call ends."""
        trace, who = self.network.trace, self.process or "client"
        try:
            yield
        except (ApiError, ApiConnectionError) as error:
            trace.note(who, str(call), str(error))
            raise
        trace.note(who, str(call), "ok")


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _encoded(response: Response) -> bytes:
    return response.body.encode() if isinstance(response.body, str) else codec.dumps(response.body)
