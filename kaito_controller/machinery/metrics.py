"""The metrics of the machinery, under the names that dashboards for Go operators already know.

Names, labels and buckets are those of controller-runtime (`controller_runtime_*`, `workqueue_*`) and client-go
(`rest_client_*`, `leader_election_master_status`, `reflector_*`). The registry is handed in: there is no global one.

What a queue or a worker counts on its hot path is kept in plain numbers and read when somebody scrapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate, repeat
from operator import mul
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from kaito_controller.machinery.exposition.depths import Depths
from kaito_controller.machinery.exposition.metrics import DistributionFamily, ReadFamily

RECONCILE_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    *(1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60),
)
QUEUE_BUCKETS: Final = tuple(accumulate(repeat(10.0, 11), mul, initial=1e-8))
"""10 ns, 100 ns ... 1000 s, multiplied step by step as Go does it, for the same last digits (MX3)."""
RESULTS: Final = ("error", "requeue_after", "requeue", "success")


class Metrics:
    """Every metric family of the machinery, filed in one registry.

    Attributes:
        registry: where they are filed; a new one unless given.
        controllers: the names of the controllers that are measured here.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry or CollectorRegistry()
        self.controllers: set[str] = set()
        ProcessCollector(registry=self.registry)
        self._add_client_families()
        self._add_controller_families()
        self._add_queue_families()

    def _add_client_families(self) -> None:
        registry = self.registry
        self.requests = Counter(
            "rest_client_requests_total",
            "HTTP requests, by status code, method and host.",
            ("code", "method", "host"),
            registry=registry,
        )
        self.retries = Counter(
            "rest_client_request_retries_total",
            "Requests sent again because the server asked for it or the connection broke.",
            ("code", "verb", "host"),
            registry=registry,
        )
        self.lists = Counter("reflector_lists_total", "Lists begun, by kind.", ("name",), registry=registry)
        self.watches = Counter("reflector_watches_total", "Watches begun, by kind.", ("name",), registry=registry)
        self.handler_errors = Counter(
            "informer_handler_errors_total",
            "Notifications that a handler failed on, by kind.",
            ("name",),
            registry=registry,
        )
        self.unfit_objects = Counter(
            "informer_unfit_objects_total",
            "Objects whose content does not fit what reads them, each counted once, by kind.",
            ("name",),
            registry=registry,
        )
        self.events = Counter(
            "event_recorder_events_total", "Recorded events, by outcome.", ("outcome",), registry=registry
        )
        self.leading = Gauge(
            "leader_election_master_status",
            "1 while this process holds the lease, 0 while it does not.",
            ("name",),
            registry=registry,
        )
        self.election_slow_path = Counter(
            "leader_election_slowpath_total",
            "Renewals that had to read the lease first.",
            ("name",),
            registry=registry,
        )
        self.certificate_reads = Counter(
            "certwatcher_read_certificate_total", "Looks at the server's certificate and key.", registry=registry
        )
        self.certificate_read_errors = Counter(
            "certwatcher_read_certificate_errors_total",
            "Certificates and keys that could not be read or used.",
            registry=registry,
        )

    def _add_controller_families(self) -> None:
        registry, label = self.registry, ("controller",)
        prefix = "controller_runtime_"
        self.reconciles = Counter(
            f"{prefix}reconcile_total",
            "Reconciles, by controller and result.",
            ("controller", "result"),
            registry=registry,
        )
        self.reconcile_errors = Counter(
            f"{prefix}reconcile_errors_total", "Reconciles that failed.", label, registry=registry
        )
        self.terminal_errors = Counter(
            f"{prefix}terminal_reconcile_errors_total", "Failures that are not retried.", label, registry=registry
        )
        self.panics = Counter(
            f"{prefix}reconcile_panics_total", "Failures by a defect of the reconciler.", label, registry=registry
        )
        self.timeouts = Counter(
            f"{prefix}reconcile_timeouts_total", "Reconciles that ran out of time.", label, registry=registry
        )
        self.reconcile_seconds = DistributionFamily(
            f"{prefix}reconcile_time_seconds", "Seconds per reconcile.", label, RECONCILE_BUCKETS, registry
        )
        self.active_workers = Gauge(f"{prefix}active_workers", "Workers busy now.", label, registry=registry)
        self.max_workers = Gauge(f"{prefix}max_concurrent_reconciles", "Workers at most.", label, registry=registry)

    def _add_queue_families(self) -> None:
        labels = ("name", "controller")

        def counter(name: str, documentation: str) -> ReadFamily:
            return ReadFamily(CounterMetricFamily, f"workqueue_{name}", documentation, labels, self.registry)

        def gauge(name: str, documentation: str, *more: str) -> ReadFamily:
            return ReadFamily(GaugeMetricFamily, f"workqueue_{name}", documentation, (*labels, *more), self.registry)

        def durations(name: str, documentation: str) -> DistributionFamily:
            return DistributionFamily(f"workqueue_{name}", documentation, labels, QUEUE_BUCKETS, self.registry)

        self.depth = gauge("depth", "Items waiting.", "priority")
        self.adds = counter("adds_total", "Items taken into the queue.")
        self.queue_retries = counter("retries_total", "Items queued again later.")
        self.queue_seconds = durations("queue_duration_seconds", "Seconds an item waited.")
        self.work_seconds = durations("work_duration_seconds", "Seconds an item was worked on.")
        self.unfinished = gauge("unfinished_work_seconds", "Seconds of work in progress, summed.")
        self.longest = gauge(
            "longest_running_processor_seconds", "Seconds that the longest work in progress has taken."
        )


class ControllerMetrics:
    """The children of one controller, bound once; every series exists at 0 before the first reconcile (MX1)."""

    def __init__(self, metrics: Metrics, controller: str, workers: int) -> None:
        self.results = {result: metrics.reconciles.labels(controller, result) for result in RESULTS}
        self.errors = metrics.reconcile_errors.labels(controller)
        self.terminal_errors = metrics.terminal_errors.labels(controller)
        self.panics = metrics.panics.labels(controller)
        self.timeouts = metrics.timeouts.labels(controller)
        self.seconds = metrics.reconcile_seconds.labels(controller)
        self.active = metrics.active_workers.labels(controller)
        self.active.set(0)
        metrics.max_workers.labels(controller).set(workers)


class QueueMetrics:
    """What one workqueue counts. Every series exists from the start, the depth of priority 0 among them.

    Args:
        ages: says how long, in seconds, each item has been held that a worker holds now. It is asked at every scrape,
            so that no timer has to keep two gauges fresh in an idle process.
    """

    __slots__ = ("adds", "depths", "queue_seconds", "retries", "work_seconds")

    def __init__(self, metrics: Metrics, name: str, ages: Callable[[], Iterable[float]]) -> None:
        series = (name, name)
        self.adds = 0
        self.retries = 0
        self.depths = Depths()
        self.queue_seconds = metrics.queue_seconds.labels(*series)
        self.work_seconds = metrics.work_seconds.labels(*series)
        metrics.adds.read(name, lambda: [(series, self.adds)])
        metrics.queue_retries.read(name, lambda: [(series, self.retries)])
        metrics.depth.read(name, lambda: [((*series, priority), count) for priority, count in self.depths])
        metrics.unfinished.read(name, lambda: [(series, sum(ages()))])
        metrics.longest.read(name, lambda: [(series, max(ages(), default=0.0))])

    def waits(self, priority: int) -> None:
        """An item came to wait."""
        self.adds += 1
        self.depths.change(priority, 1)

    def rises(self, priority: int, to: int) -> None:
        """An item that waits got a higher priority."""
        self.depths.change(priority, -1)
        self.depths.change(to, 1)

    def leaves(self, priority: int, waited_s: float) -> None:
        """A worker took an item that had waited that long."""
        self.depths.change(priority, -1)
        self.queue_seconds.observe(waited_s)
