"""A closed loop of clients: each asks, waits for the whole answer, and asks again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp
import psutil
from attrs import evolve, frozen

from kaito_controller.testing.serving import Server

ANSWER_LIMIT_S: Final = 120.0


class LoadError(Exception):
    """A request was not answered as it must be; the figures would mean nothing."""


@frozen(kw_only=True)
class Question:
    """What every client asks: a path and a JSON body."""

    path: str
    body: Mapping[str, Any]


@frozen(kw_only=True)
class Block:
    """One stretch of load: how long it took, and how long each answer, in the order in which they came.

    `cpu_s` is the processor time that the server and all its processes used meanwhile.
    """

    wall_s: float
    latencies_s: Sequence[float]
    cpu_s: float = 0.0

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return len(self.latencies_s) / self.wall_s

    @property
    def cpu_ms_each(self) -> float:
        """Milliseconds of processor an answer."""
        return 1000 * self.cpu_s / len(self.latencies_s)


def ask_many(server: Server, question: Question, *, count: int, clients: int) -> Block:
    """Have `clients` ask `count` times in all. Raises LoadError for an answer that is not 200."""
    before_s = _cpu_s(server)
    block = asyncio.run(_ask_many(server.port, question, count, clients))
    return evolve(block, cpu_s=_cpu_s(server) - before_s)


def _cpu_s(server: Server) -> float:
    times = [one.cpu_times() for one in (psutil.Process(server.process.pid), *server.descendants())]
    return sum(one.user + one.system for one in times)


async def _ask_many(port: int, question: Question, count: int, clients: int) -> Block:
    url, raw = f"http://127.0.0.1:{port}{question.path}", json.dumps(question.body).encode()
    waiting = iter(range(count))
    latencies: list[float] = []

    async def client(session: aiohttp.ClientSession) -> None:
        for _ in waiting:
            began = time.perf_counter()
            async with session.post(url, data=raw, headers={"Content-Type": "application/json"}) as answer:
                said = await answer.read()
            latencies.append(time.perf_counter() - began)
            if answer.status != 200:  # noqa: PLR2004 - OK
                raise LoadError(f"POST {question.path} answered {answer.status}: {said[:500]!r}")

    limit = aiohttp.ClientTimeout(total=ANSWER_LIMIT_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=clients), timeout=limit) as session:
        began = time.perf_counter()
        await asyncio.gather(*(client(session) for _ in range(clients)))
        return Block(wall_s=time.perf_counter() - began, latencies_s=latencies)
