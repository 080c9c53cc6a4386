"""Answers 429 while more requests wait than the engine can run at once, before a body is read.

A request that is let in takes its turn as vLLM gives it; one that would wait behind a full queue is told at once when
to come back. What is kept is a number: 10,000 requests at a time cost 10,000 short answers.
"""

from __future__ import annotations

import asyncio
from math import ceil
from typing import Any, Final

from attrs import define, field, frozen
from prometheus_client import REGISTRY, CollectorRegistry, Counter

from inference_server.notice import tell
from inference_server.serve.asgi import Answer, Application, Receive, Scope, Send, encode, path_of, reply

TOO_MANY: Final = 429
# Upstream's prefixes (its rate_limit.py), and vLLM's other paths that lead to the same engine.
GUARDED: Final = (
    *(
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/embeddings",
        "/tokenize",
        "/pooling",
        "/score",
        "/rerank",
        "/v1/rerank",
    ),
    *("/v1/responses", "/v1/messages", "/v1/score", "/v2/rerank", "/v2/embed", "/classify", "/invocations", "/cohere/"),
    *("/v1/audio/", "/v1/systemone", "/inference/v1/generate", "/generative_scoring"),
)
WAITING_METRIC: Final = "vllm:num_requests_waiting"
# How long a look at the metric is good for: the engine itself renews it once in each of its steps.
WAITING_GOOD_FOR_S: Final = 0.1
RETRY_LEAST_S, RETRY_MOST_S = 1, 60
# How much the newest interval between two answers counts in the mean one.
INTERVAL_WEIGHT: Final = 0.1

REJECTED: Final = Counter("kaito_ratelimit_rejected_total", "Requests answered with 429 because the queue was full.")


@define
class WaitingRequests:
    """The engine's own count of waiting requests, of which one HTTP request may bring several."""

    registry: CollectorRegistry = field(default=REGISTRY)
    _read_at: float = -WAITING_GOOD_FOR_S
    _count: int = 0
    _missed: bool = False

    def count(self, now: float) -> int:
        """The sum over engines, at most WAITING_GOOD_FOR_S old at the time `now`; 0 when vLLM does not tell it."""
        if now - self._read_at >= WAITING_GOOD_FOR_S:
            self._read_at = now
            self._count = self._look()
        return self._count

    def _look(self) -> int:
        metrics = self.registry.restricted_registry([WAITING_METRIC]).collect()
        values = [one.value for metric in metrics for one in metric.samples if one.name == WAITING_METRIC]
        if not values and not self._missed:
            self._missed = True
            tell(f"the metric {WAITING_METRIC} is missing: the queue is judged by requests in flight alone")
        return int(sum(values))


@define
class Pace:
    """How fast answers are finished, and who was sent away meanwhile: so that all do not come back in one moment."""

    interval_s: float = 0.0
    sent_away: int = 0
    _finished_at: float | None = None

    def finished(self, now: float) -> None:
        """Notes the end of an answer: one who was sent away could have come instead."""
        if self._finished_at is not None:
            newest = now - self._finished_at
            self.interval_s += (newest - self.interval_s) * (INTERVAL_WEIGHT if self.interval_s else 1)
        self._finished_at = now
        self.sent_away = max(0, self.sent_away - 1)

    def retry_after_s(self, excess: int) -> int:
        """Whole seconds until it is the turn of the next one that is sent away, and counts it."""
        self.sent_away += 1
        return min(RETRY_MOST_S, max(RETRY_LEAST_S, ceil((excess + self.sent_away) * self.interval_s)))


@frozen
class Limits:
    """How many requests the engines run at once, as vLLM itself resolved it."""

    running: int

    @classmethod
    def of_application(cls, application: Any) -> Limits | None:
        """Reads vLLM's resolved configuration where its handlers read it too; None when it is not there."""
        try:
            config, arguments = application.state.vllm_config, application.state.args
            engines = ceil(arguments.data_parallel_size / (arguments.api_server_count or 1))
            return cls(config.scheduler_config.max_num_seqs * max(1, engines))
        except AttributeError:
            return None


@define
class QueueGuard:
    """The layer itself. vLLM makes one around its application, by the name given with `--middleware`."""

    app: Application
    waiting: WaitingRequests = field(factory=WaitingRequests)
    pace: Pace = field(factory=Pace)
    pending: int = 0
    _limits: Limits | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request in or answers 429; what does not use the engine goes through."""
        if scope["type"] != "http" or scope["method"] != "POST" or not path_of(scope).startswith(GUARDED):
            await self.app(scope, receive, send)
            return
        if self._limits is None:
            self._limits = Limits.of_application(scope.get("app"))
        clock = asyncio.get_running_loop().time
        if self._limits is not None:
            most = self._limits.running
            queued = max(self.waiting.count(clock()), self.pending - most)
            if queued > most:
                REJECTED.inc()
                await reply(_busy(queued, most, self.pace.retry_after_s(queued - most)), send)
                return
        self.pending += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.pending -= 1
            self.pace.finished(clock())


def _busy(queued: int, most: int, retry_after_s: int) -> Answer:
    """The body is upstream's, word for word: its clients look for the code."""
    message = f"Too many requests: waiting queue ({queued}) exceeds max-num-seqs ({most})."
    error = {"message": message, "type": "requests", "param": None, "code": "rate_limit_exceeded"}
    headers = ((b"retry-after", str(retry_after_s).encode()),)
    return Answer(status=TOO_MANY, body=encode({"error": error}), headers=headers)
