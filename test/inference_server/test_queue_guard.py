from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import define, field
from prometheus_client import CollectorRegistry, Gauge

from inference_server.serve import queue_guard
from inference_server.serve.queue_guard import Limits, Pace, QueueGuard, WaitingRequests

SLOTS = 4


@define
class Engine:
    """An application whose answers come when they are let go."""

    entered: int = 0
    gate: asyncio.Event = field(factory=asyncio.Event)
    fails: bool = False

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        self.entered += 1
        await self.gate.wait()
        if self.fails:
            raise RuntimeError("no answer")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


def application(slots: int = SLOTS, **arguments: Any) -> Any:
    """What vLLM's application tells of itself."""
    config = SimpleNamespace(scheduler_config=SimpleNamespace(max_num_seqs=slots))
    args = SimpleNamespace(**{"data_parallel_size": 1, "api_server_count": None, **arguments})
    return SimpleNamespace(state=SimpleNamespace(vllm_config=config, args=args))


@define
class Scene:
    """The guard around an engine, with the metric in a registry of its own."""

    engine: Engine = field(factory=Engine)
    registry: CollectorRegistry = field(factory=CollectorRegistry)
    app: Any = field(factory=application)
    gauge: Any = None
    guard: Any = None

    def __attrs_post_init__(self) -> None:
        self.gauge = Gauge(queue_guard.WAITING_METRIC, "waiting", ["engine"], registry=self.registry)
        self.guard = QueueGuard(self.engine, waiting=WaitingRequests(self.registry))

    async def ask(self, path: str = "/v1/completions", method: str = "POST", kind: str = "http") -> list[Any]:
        sent: list[Any] = []
        scope = {"type": kind, "method": method, "path": path, "headers": [], "app": self.app}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.guard(scope, None, send)
        return sent

    async def fill(self, count: int, path: str = "/v1/completions") -> list[asyncio.Task[Any]]:
        """That many requests at once, run until each waits for the engine or is answered."""
        tasks = [asyncio.create_task(self.ask(path)) for _ in range(count)]
        await asyncio.sleep(0)
        return tasks


async def test_as_many_wait_as_run_and_the_next_is_sent_away():
    """Twice the slots are let in, equality admits; the next gets upstream's 429 with a time to come back."""
    scene = Scene()
    tasks = await scene.fill(2 * SLOTS + 1)
    assert scene.engine.entered == 2 * SLOTS + 1
    start, body = await scene.ask()
    assert start["status"] == 429
    message = "Too many requests: waiting queue (5) exceeds max-num-seqs (4)."
    error = {"message": message, "type": "requests", "param": None, "code": "rate_limit_exceeded"}
    assert json.loads(body["body"]) == {"error": error}
    assert (b"retry-after", b"1") in start["headers"]
    scene.engine.gate.set()
    assert {sent[0]["status"] for sent in await asyncio.gather(*tasks)} == {200}
    assert (await scene.ask())[0]["status"] == 200


async def test_the_engines_own_count_fills_the_queue_too():
    """One request of a hundred prompts is a hundred in the engine: its metric, summed over engines, counts."""
    scene = Scene()
    scene.engine.gate.set()
    scene.gauge.labels("0").set(SLOTS - 1)
    scene.gauge.labels("1").set(1)
    assert (await scene.ask())[0]["status"] == 200
    scene.gauge.labels("1").set(2)
    scene.guard.waiting = WaitingRequests(scene.registry)
    assert (await scene.ask())[0]["status"] == 429


async def test_a_failed_request_gives_its_place_back():
    """Exceptions leave no ghost in the count."""
    scene = Scene(engine=Engine(fails=True))
    scene.engine.gate.set()
    for _ in range(3 * SLOTS):
        with pytest.raises(RuntimeError):
            await scene.ask()
    assert scene.guard.pending == 0


@pytest.mark.parametrize(
    ("path", "method"),
    [("/health", "GET"), ("/metrics", "GET"), ("/v1/models", "GET"), ("/v1/load_lora_adapter", "POST")],
)
async def test_what_does_not_use_the_engine_goes_through(path: str, method: str):
    """A full queue disturbs nobody who does not want into it."""
    scene = Scene()
    tasks = await scene.fill(2 * SLOTS + 1)
    passing = asyncio.create_task(scene.ask(path, method))
    await asyncio.sleep(0)
    assert scene.engine.entered == len(tasks) + 1
    scene.engine.gate.set()
    assert (await passing)[0]["status"] == 200
    await asyncio.gather(*tasks)


async def test_without_vllms_configuration_nobody_is_sent_away():
    """Before the engine has told how much it runs at once, the guard is open."""
    scene = Scene(app=SimpleNamespace(state=SimpleNamespace()))
    tasks = await scene.fill(100)
    assert scene.engine.entered == 100
    scene.engine.gate.set()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(
    ("engines", "servers", "limit"), [(1, None, 4), (8, None, 32), (8, 8, 4), (8, 3, 12), (1, 4, 4)]
)
def test_copies_of_the_model_count_for_the_server_that_feeds_them(engines: int, servers: int | None, limit: int):
    """Data parallelism: one server feeds all copies, or each its own."""
    found = Limits.of_application(application(data_parallel_size=engines, api_server_count=servers))
    assert found == Limits(limit)


def test_the_metric_is_looked_at_ten_times_a_second_at_most():
    """A look costs microseconds, and not for every request."""
    registry = CollectorRegistry()
    gauge = Gauge(queue_guard.WAITING_METRIC, "waiting", registry=registry)
    waiting = WaitingRequests(registry)
    gauge.set(3)
    assert waiting.count(0.0) == 3
    gauge.set(9)
    assert [waiting.count(0.05), waiting.count(0.11)] == [3, 9]


def test_a_missing_metric_counts_as_none_and_is_told_once(capsys: pytest.CaptureFixture[str]):
    """A new vLLM may rename it: the guard goes on with what it counts itself."""
    waiting = WaitingRequests(CollectorRegistry())
    assert [waiting.count(0.0), waiting.count(1.0)] == [0, 0]
    assert capsys.readouterr().err.count("is missing") == 1


def test_those_sent_away_come_back_one_after_another():
    """At an answer in half a second, the tenth who is sent away is told to come later than the first."""
    pace = Pace()
    for turn in range(5):
        pace.finished(turn * 0.5)
    assert pace.interval_s == 0.5
    assert [pace.retry_after_s(1) for _ in range(10)] == [1, 2, 2, 3, 3, 4, 4, 5, 5, 6]
    pace.finished(2.5)
    assert pace.retry_after_s(1) == 6
    assert Pace().retry_after_s(1) == queue_guard.RETRY_LEAST_S
    for _ in range(1000):
        last = pace.retry_after_s(1)
    assert last == queue_guard.RETRY_MOST_S
