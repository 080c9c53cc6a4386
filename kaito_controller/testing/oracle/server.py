"""The HTTP server on loopback that plays scripts; each scenario has a folder of its own under the URL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from attrs import define, field, frozen

from kaito_controller.testing.oracle.script import Answer, Drop, Either, Gate, Pause, Plain, Scenario, Stream, Whole

WATCH_S: Final = range(300, 601)
PHRASES: Final = {200: "OK", 201: "Created"}
Query = tuple[tuple[str, str], ...]


@frozen
class RequestLine:
    """A request as the oracle compares it: its query is sorted, and a watch's random timeout is only its range."""

    verb: str
    path: str
    query: Query

    def __str__(self) -> str:
        return f"{self.verb} {self.path}?{'&'.join('='.join(pair) for pair in self.query)}"


@define
class Play:
    """One scenario under way."""

    answers: list[Answer]
    gates: dict[str, asyncio.Event]
    requests: list[RequestLine] = field(factory=list)

    @property
    def is_played(self) -> bool:
        """Whether every answer has been asked for."""
        return not self.answers


@define
class ScriptServer:
    """Answers requests under `/s/SCENARIO` from the scenario's script and opens gates at `/gate/SCENARIO/NAME`."""

    plays: dict[str, Play]
    url: str = field(init=False, default="")
    _connections: set[asyncio.Task[None]] = field(init=False, factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection from its start to its end."""
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            while await self._request(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client went away, as it may
        except asyncio.CancelledError:
            pass  # the server ends
        finally:
            writer.close()

    async def end(self) -> None:
        """Close what is open."""
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection can serve another."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        verb, target, _ = head.split("\r\n", 1)[0].split(" ")
        for line in head.lower().split("\r\n"):
            if line.startswith("content-length:"):
                await reader.readexactly(int(line.partition(":")[2]))
        parts = urlsplit(target)
        _, door, name, rest = parts.path.split("/", 3)
        play = self.plays[name]
        if door == "gate":
            play.gates.setdefault(rest, asyncio.Event()).set()
            await _send(writer, Whole(body=b"{}"))
            return True
        line_ = RequestLine(verb, "/" + rest, normalised(parts.query))
        play.requests.append(line_)
        if not play.answers:
            await asyncio.Event().wait()
        return await self._answer(writer, play, _choose(play.answers.pop(0), line_), reader)

    async def _answer(
        self, writer: asyncio.StreamWriter, play: Play, answer: Plain, reader: asyncio.StreamReader
    ) -> bool:
        match answer:
            case Whole():
                await _send(writer, answer)
                return ("Connection", "close") not in answer.headers
            case Drop():
                return False
            case Stream():
                return await self._stream(writer, play, answer, reader)

    async def _stream(
        self, writer: asyncio.StreamWriter, play: Play, stream: Stream, reader: asyncio.StreamReader
    ) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        for step in stream.steps:
            await writer.drain()
            match step:
                case Gate(name=name):
                    await play.gates.setdefault(name, asyncio.Event()).wait()
                case Pause(seconds=seconds):
                    await asyncio.sleep(seconds)
                case bytes():
                    writer.write(f"{len(step):x}\r\n".encode() + step + b"\r\n")
        await writer.drain()
        if stream.end == "stay":
            # Nothing more is sent: this returns when the client hangs up.
            await reader.read(1)
            return False
        if stream.end == "cut":
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


def _choose(answer: Answer, line: RequestLine) -> Plain:
    if not isinstance(answer, Either):
        return answer
    query = dict(line.query)
    if "watch" not in query:
        return answer.listing
    return answer.watch_list if "sendInitialEvents" in query else answer.watch


async def _send(writer: asyncio.StreamWriter, answer: Whole) -> None:
    lines = [f"HTTP/1.1 {answer.status} {PHRASES.get(answer.status, 'Refused')}", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(answer.body)}", *(f"{name}: {value}" for name, value in answer.headers)]
    writer.write("\r\n".join([*lines, "", ""]).encode() + answer.body)
    await writer.drain()


def normalised(query: str) -> Query:
    """The parameters in order; a watch's timeout is drawn at random from a range, so only the range is kept (RF9)."""
    pairs = dict(parse_qsl(query, keep_blank_values=True))
    seconds = pairs.get("timeoutSeconds", "")
    if seconds.isdigit() and int(seconds) in WATCH_S:
        pairs["timeoutSeconds"] = f"{WATCH_S.start}-{WATCH_S.stop - 1}"
    return tuple(sorted(pairs.items()))


@asynccontextmanager
async def playing(scenarios: Sequence[Scenario]) -> AsyncIterator[ScriptServer]:
    """A server that plays these scenarios from their beginning, once."""
    plays: Mapping[str, Play] = {each.name: Play(list(each.answers), {}) for each in scenarios}
    played = ScriptServer(dict(plays))
    server = await asyncio.start_server(played.serve, "127.0.0.1", 0, limit=1 << 20)
    played.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield played
    finally:
        server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await played.end()
