"""Answers how far a tuning is: `/report` for the operator, `/metrics` for Prometheus, `/health` for probes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inference_server import contract
from inference_server.refusal import InputError
from inference_server.tune.progress import Progress, State

GpuMemory = Callable[[], Mapping[str, tuple[int, int]]]
"""GPU → bytes in use, bytes in all."""

_SLOW_CLIENT_S: Final = 10


def no_gpu() -> Mapping[str, tuple[int, int]]:
    """Without a GPU there is no memory of one."""
    return {}


class TuningCollector(Collector):
    """The metrics, made from the present state at each scrape."""

    def __init__(self, progress: Progress, gpu_memory: GpuMemory) -> None:
        self._progress = progress
        self._gpu_memory = gpu_memory

    def collect(self) -> Iterator[Metric]:
        """Every metric that has a value now."""
        now = self._progress.now()
        state = GaugeMetricFamily("kaito_tuning_state", "1 for the state that the tuning is in", labels=["state"])
        for one in State:
            state.add_metric([one.value], float(one is now.state))
        yield state
        gauges = (
            ("kaito_tuning_step", "Optimizer steps done", now.step),
            ("kaito_tuning_steps", "Optimizer steps in all", now.total_steps),
            ("kaito_tuning_epoch", "Passes over the data done", now.epoch),
            ("kaito_tuning_loss", "Training loss of the last logged steps", now.loss),
            ("kaito_tuning_eval_loss", "Loss on the rows kept apart", now.eval_loss),
            ("kaito_tuning_learning_rate", "Present learning rate", now.learning_rate),
            ("kaito_tuning_eta_seconds", "Seconds until the last step, by the pace so far", now.eta_s),
        )
        for name, documentation, value in gauges:
            if value is not None:
                yield GaugeMetricFamily(name, documentation, value=value)
        if now.tokens is not None:
            yield CounterMetricFamily("kaito_tuning_tokens", "Input tokens learnt from", value=now.tokens)
        used = GaugeMetricFamily("kaito_tuning_gpu_memory_used_bytes", "GPU memory in use", labels=["gpu"])
        whole = GaugeMetricFamily("kaito_tuning_gpu_memory_total_bytes", "GPU memory in all", labels=["gpu"])
        for gpu, (used_bytes, total_bytes) in self._gpu_memory().items():
            used.add_metric([gpu], used_bytes)
            whole.add_metric([gpu], total_bytes)
        yield used
        yield whole


class _Handler(BaseHTTPRequestHandler):
    timeout = _SLOW_CLIENT_S
    protocol_version = "HTTP/1.1"
    progress: Progress
    registry: CollectorRegistry

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == contract.REPORT_PATH:
            self._answer(json.dumps(self.progress.now().report()).encode(), "application/json")
        elif path == contract.METRICS_PATH:
            self._answer(generate_latest(self.registry), CONTENT_TYPE_LATEST)
        elif path == contract.HEALTH_PATH:
            self._answer(b"", "text/plain")
        else:
            self._answer(b"", "text/plain", HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET  # noqa: N815 (the name that http.server calls)

    def _answer(self, body: bytes, content_type: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the name that http.server has)
        """Scrapes are not worth a line of the log each."""


@contextmanager
def answering(progress: Progress, host: str, port: int, gpu_memory: GpuMemory = no_gpu) -> Iterator[int]:
    """Answers from a thread until the block ends; yields the port. Raises InputError when it cannot listen there."""
    registry = CollectorRegistry()
    registry.register(TuningCollector(progress, gpu_memory))
    handler = type("Handler", (_Handler,), {"progress": progress, "registry": registry})
    try:
        server = ThreadingHTTPServer((host, port), handler)
    except OSError as error:
        raise InputError(
            field=contract.ARG_PORT, rule="a free port", found=f"{port}: {error.strerror or error}"
        ) from error
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, name="report", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
