"""The way from one simulated process to the API server, with everything that happens to requests on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http import HTTPStatus
from random import Random
from typing import Any

from attrs import define, field, frozen

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery import codec
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiConnectionError, ApiConnectionLostError, ApiError, ApiTimeoutError
from kaito_controller.machinery.retry import refusal, send_again
from kaito_controller.testing.fake.request import Request, Response
from kaito_controller.testing.fake.server import FakeServer
from kaito_controller.testing.fake.watch import Watch
from kaito_controller.testing.simulation import answers
from kaito_controller.testing.simulation.faults import CALL, Fault, Faults
from kaito_controller.testing.simulation.lines import Relay
from kaito_controller.testing.simulation.loop import context_of
from kaito_controller.testing.simulation.pipe import Pipe
from kaito_controller.testing.simulation.trace import Trace

OPENING_S = 30.0
"""Until a stream has to be answered, as in the real transport."""
LATENCIES_S = (0.001, 0.005, 0.005, 0.05, 0.3)
"""Mean seconds that a message takes; one of them in each world."""
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
class Network:
    """All connections to one server. What it carries runs apart from the processes, as a kernel and a cable do.

    Attributes:
        broken: told when the network itself fails, which is a defect of the simulation.
        deaf_until: until then nobody listens, because the server restarts.
        outage_until: until then the server is not ready.
    """

    server: FakeServer
    clock: Clock
    rng: Random
    trace: Trace
    faults: Faults
    broken: Callable[[str], None]
    latency_s: float = field(init=False)
    outage_until: float = 0.0
    deaf_until: float = 0.0
    requests: list[tuple[float, str]] = field(init=False, factory=list)
    _pumps: dict[asyncio.Task[None], Pipe] = field(init=False, factory=dict)
    _tasks: set[asyncio.Task[None]] = field(init=False, factory=set)

    def __attrs_post_init__(self) -> None:
        self.latency_s = self.rng.choice(LATENCIES_S)

    def link(self, process: str) -> Link:
        """The transport of one process."""
        return Link(self, process)

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return len(self._pumps)

    @property
    def under_way(self) -> int:
        """How many requests are being carried or answered."""
        return len(self._tasks)

    def hang_up(self) -> None:
        """End all streams, some in good order and some not."""
        for pipe in list(self._pumps.values()):
            pipe.end(ApiConnectionError("connection reset by peer") if self.rng.random() < 0.5 else None)  # noqa: PLR2004

    def restart(self, seconds: float) -> None:
        """End all streams and let nobody in for that long: at first nobody listens, then the server is not ready."""
        self.hang_up()
        self.outage_until = self.clock.monotonic() + seconds
        self.deaf_until = self.clock.monotonic() + seconds * self.rng.random()

    def recover(self) -> None:
        """Let everybody in again."""
        self.outage_until = self.deaf_until = 0.0

    def travel_s(self) -> float:
        """Seconds that one message takes."""
        return self.rng.random() * 2 * self.latency_s

    def run(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run something outside of any process."""
        task = asyncio.get_running_loop().create_task(work, name=name, context=context_of(""))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.broken(f"{task.get_name()}: {error!r}")

    def pump(self, work: Coroutine[Any, Any, None], pipe: Pipe) -> asyncio.Task[None]:
        """Run what feeds a stream."""
        task = self.run(work, "pump")
        self._pumps[task] = pipe
        task.add_done_callback(self._pumps.pop)
        return task

    def outage(self) -> Exception | None:
        """What a restarting server does to a request, if it restarts."""
        now = self.clock.monotonic()
        if now >= self.outage_until:
            return None
        return answers.refusal(Fault.REFUSED if now < self.deaf_until else Fault.BUSY_AFTER)


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
