"""The metrics of the machinery, under the names that dashboards for Go operators already know.

Names, labels and buckets are those of controller-runtime (`controller_runtime_*`, `workqueue_*`) and client-go
(`rest_client_*`, `leader_election_master_status`, `reflector_*`). The registry is handed in: there is no global one.

What a queue or a worker counts on its hot path is kept in plain numbers and read when somebody scrapes: an increment of
the client library takes a lock, and its histogram walks the buckets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, repeat
from operator import mul
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from kaito_controller.machinery.depths import Depths
from kaito_controller.machinery.distribution import Distribution

RECONCILE_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    *(1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60),
)
QUEUE_BUCKETS: Final = tuple(accumulate(repeat(10.0, 11), mul, initial=1e-8))
"""10 ns, 100 ns ... 1000 s, multiplied step by step as Go does it, for the same last digits (MX3)."""
RESULTS: Final = ("error", "requeue_after", "requeue", "success")
LATENCY_BUCKETS: Final = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
SIZE_BUCKETS: Final = (64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216)
"""Both are those of `k8s.io/component-base/metrics/prometheus/restclient`."""

Readings: TypeAlias = Callable[[], Iterable[tuple[Sequence[str], float]]]
"""Says, when asked, every series of one owner: label values and the value now."""


class _Readings(Collector):
    """A family of counters or gauges whose values are asked for at each scrape."""

    def __init__(
        self,
        kind: type[CounterMetricFamily | GaugeMetricFamily],
        name: str,
        documentation: str,
        labels: Sequence[str],
        registry: CollectorRegistry,
    ) -> None:
        self._empty: Callable[[], CounterMetricFamily | GaugeMetricFamily] = lambda: kind(
            name, documentation, labels=labels
        )
        self._owners: dict[str, Readings] = {}
        registry.register(self)

    def read(self, owner: str, readings: Readings) -> None:
        """Ask this owner at every scrape; a later one of the same name takes its place."""
        self._owners[owner] = readings

    def describe(self) -> Iterable[Metric]:
        return [self._empty()]

    def collect(self) -> Iterable[Metric]:
        family = self._empty()
        for readings in self._owners.values():
            for labels, value in readings():
                family.add_metric(labels, value)
        return [family]


class _Distributions(Collector):
    """A family of histograms that cost little to observe."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._empty: Callable[[], HistogramMetricFamily] = lambda: HistogramMetricFamily(
            name, documentation, labels=labels
        )
        self._bounds = bounds
        self._children: dict[Sequence[str], Distribution] = {}
        registry.register(self)

    def labels(self, *values: str) -> Distribution:
        """The series with these label values; it exists from now on."""
        return self._children.setdefault(values, Distribution(self._bounds))

    def describe(self) -> Iterable[Metric]:
        return [self._empty()]

    def collect(self) -> Iterable[Metric]:
        family = self._empty()
        for labels, child in self._children.items():
            buckets = [(_le(bound), float(count)) for bound, count in child.cumulative()]
            family.add_metric(labels, buckets, child.total)
        return [family]


def _le(bound: float) -> str:
    text: str = floatToGoString(bound)  # type: ignore[no-untyped-call]
    return text


class Metrics:
    """Every metric family of the machinery, filed in one registry.

    Args:
        registry: where to file them; a new one unless given.
        client_details: file `client_details`, too: durations and sizes by verb and host, which are many series.
    """

    def __init__(self, registry: CollectorRegistry | None = None, *, client_details: bool = False) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry or CollectorRegistry()
        self.controllers: set[str] = set()
        self.client_details = ClientDetails(self.registry) if client_details else None
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
        self.reconcile_seconds = _Distributions(
            f"{prefix}reconcile_time_seconds", "Seconds per reconcile.", label, RECONCILE_BUCKETS, registry
        )
        self.active_workers = Gauge(f"{prefix}active_workers", "Workers busy now.", label, registry=registry)
        self.max_workers = Gauge(f"{prefix}max_concurrent_reconciles", "Workers at most.", label, registry=registry)

    def _add_queue_families(self) -> None:
        labels = ("name", "controller")

        def counter(name: str, documentation: str) -> _Readings:
            return _Readings(CounterMetricFamily, f"workqueue_{name}", documentation, labels, self.registry)

        def gauge(name: str, documentation: str, *more: str) -> _Readings:
            return _Readings(GaugeMetricFamily, f"workqueue_{name}", documentation, (*labels, *more), self.registry)

        def durations(name: str, documentation: str) -> _Distributions:
            return _Distributions(f"workqueue_{name}", documentation, labels, QUEUE_BUCKETS, self.registry)

        self.depth = gauge("depth", "Items waiting.", "priority")
        self.adds = counter("adds_total", "Items taken into the queue.")
        self.queue_retries = counter("retries_total", "Items queued again later.")
        self.queue_seconds = durations("queue_duration_seconds", "Seconds an item waited.")
        self.work_seconds = durations("work_duration_seconds", "Seconds an item was worked on.")
        self.unfinished = gauge("unfinished_work_seconds", "Seconds of work in progress, summed.")
        self.longest = gauge(
            "longest_running_processor_seconds", "Seconds that the longest work in progress has taken."
        )


class ClientDetails:
    """The families of the REST client that are filed only when asked for (MX4)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float]) -> Histogram:
            return Histogram(f"rest_client_{name}", documentation, labels, buckets=bounds, registry=registry)

        both = ("verb", "host")
        self.request_seconds = histogram(
            "request_duration_seconds", "Seconds until a request was answered.", both, LATENCY_BUCKETS
        )
        self.resolution_seconds = histogram(
            "dns_resolution_duration_seconds", "Seconds to resolve a host name.", ("host",), LATENCY_BUCKETS[:-1]
        )
        self.request_bytes = histogram("request_size_bytes", "Bytes of a request's body.", both, SIZE_BUCKETS)
        self.response_bytes = histogram("response_size_bytes", "Bytes of an answer's body.", both, SIZE_BUCKETS)
        self.limiter_seconds = histogram(
            "rate_limiter_duration_seconds", "Seconds a request waited for its turn.", both, LATENCY_BUCKETS
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
