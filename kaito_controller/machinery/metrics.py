"""The metrics of the machinery, under the names that dashboards for Go operators already know.

Names, labels and buckets are those of controller-runtime (`controller_runtime_*`, `workqueue_*`) and client-go
(`rest_client_*`, `leader_election_master_status`, `reflector_*`). The registry is handed in: there is no global one.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

RECONCILE_BUCKETS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    *(1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60),
)
QUEUE_BUCKETS = tuple(1e-8 * 10**exponent for exponent in range(12))
RESULTS = ("error", "requeue_after", "requeue", "success")


class Metrics:
    """Every metric family of the machinery, filed in one registry."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry or CollectorRegistry()
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
        self.reconcile_seconds = Histogram(
            f"{prefix}reconcile_time_seconds",
            "Seconds per reconcile.",
            label,
            buckets=RECONCILE_BUCKETS,
            registry=registry,
        )
        self.active_workers = Gauge(f"{prefix}active_workers", "Workers busy now.", label, registry=registry)
        self.max_workers = Gauge(f"{prefix}max_concurrent_reconciles", "Workers at most.", label, registry=registry)

    def _add_queue_families(self) -> None:
        registry, labels = self.registry, ("name", "controller")
        self.depth = Gauge("workqueue_depth", "Items waiting.", ("name", "controller", "priority"), registry=registry)
        self.adds = Counter("workqueue_adds_total", "Items taken into the queue.", labels, registry=registry)
        self.queue_retries = Counter("workqueue_retries_total", "Items queued again later.", labels, registry=registry)
        self.queue_seconds = Histogram(
            "workqueue_queue_duration_seconds",
            "Seconds an item waited.",
            labels,
            buckets=QUEUE_BUCKETS,
            registry=registry,
        )
        self.work_seconds = Histogram(
            "workqueue_work_duration_seconds",
            "Seconds an item was worked on.",
            labels,
            buckets=QUEUE_BUCKETS,
            registry=registry,
        )
        self.unfinished = Gauge(
            "workqueue_unfinished_work_seconds", "Seconds of work in progress, summed.", labels, registry=registry
        )
        self.longest = Gauge(
            "workqueue_longest_running_processor_seconds",
            "Seconds that the longest work in progress has taken.",
            labels,
            registry=registry,
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
    """The children of one workqueue, bound once."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self.depth = metrics.depth.labels(name, name, "")
        self.adds = metrics.adds.labels(name, name)
        self.retries = metrics.queue_retries.labels(name, name)
        self.queue_seconds = metrics.queue_seconds.labels(name, name)
        self.work_seconds = metrics.work_seconds.labels(name, name)
        self.unfinished = metrics.unfinished.labels(name, name)
        self.longest = metrics.longest.labels(name, name)
