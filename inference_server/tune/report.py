"""Answers how far a tuning is: `/report` for the operator, `/metrics` for Prometheus, `/health` for probes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inference_server import contract, pages
from inference_server.tune.progress import Progress, State

GpuMemory = Callable[[], Mapping[str, tuple[int, int]]]
"""GPU → bytes in use, bytes in all."""


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


@contextmanager
def answering(progress: Progress, host: str, port: int, gpu_memory: GpuMemory = no_gpu) -> Iterator[int]:
    """Answers from a thread until the block ends; yields the port. Raises InputError when it cannot listen there."""
    registry = CollectorRegistry()
    registry.register(TuningCollector(progress, gpu_memory))
    by_path: dict[str, Callable[[], pages.Body]] = {
        contract.REPORT_PATH: lambda: (HTTPStatus.OK, "application/json", json.dumps(progress.now().report()).encode()),
        contract.METRICS_PATH: lambda: (HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry)),
        contract.HEALTH_PATH: lambda: (HTTPStatus.OK, "text/plain", b""),
    }
    with pages.answering(host, port, pages.Pages(by_path)) as found:
        yield found
