"""What client-go can measure of its requests beyond counting them; these families exist only where somebody asks (MX4).

Names, labels and buckets are those of client-go's adapter in k8s.io/component-base/metrics/prometheus/restclient.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram

SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
RESOLUTION_SECONDS = SECONDS[:-1]
BYTES = (64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216)


class RequestMetrics:
    """Durations and sizes of calls, made once per registry and handed to every transport that shall be measured."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("verb", "host")
        self.duration = Histogram(
            "rest_client_request_duration_seconds",
            "Seconds per call, waits and repeats included, by verb and host.",
            labels,
            buckets=SECONDS,
            registry=registry,
        )
        self.resolution = Histogram(
            "rest_client_dns_resolution_duration_seconds",
            "Seconds until a host name was resolved, by host.",
            ("host",),
            buckets=RESOLUTION_SECONDS,
            registry=registry,
        )
        self.request_size = Histogram(
            "rest_client_request_size_bytes",
            "Size of what calls sent, by verb and host.",
            labels,
            buckets=BYTES,
            registry=registry,
        )
        self.response_size = Histogram(
            "rest_client_response_size_bytes",
            "Size of what calls were answered, by verb and host.",
            labels,
            buckets=BYTES,
            registry=registry,
        )
        self.limiter = Histogram(
            "rest_client_rate_limiter_duration_seconds",
            "Seconds that a call waited for the client's own rate limit, by verb and host.",
            labels,
            buckets=SECONDS,
            registry=registry,
        )
