"""What this server tells Prometheus. The names that autoscaling looks at are vLLM's, with its prefix exchanged."""

from __future__ import annotations

from attrs import field, frozen
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS_S = (0.1, 0.3, 1, 3, 10, 30, 100, 300)


@frozen
class Metrics:
    """The metrics, of a registry handed in."""

    registry: CollectorRegistry
    running: Gauge = field(init=False)
    waiting: Gauge = field(init=False)
    prompt_tokens: Counter = field(init=False)
    generation_tokens: Counter = field(init=False)
    seconds: Histogram = field(init=False)
    rejected: Counter = field(init=False)

    def __attrs_post_init__(self) -> None:
        own = {
            "running": Gauge(
                "transformers_num_requests_running", "Requests that are answered.", registry=self.registry
            ),
            "waiting": Gauge("transformers_num_requests_waiting", "Requests that wait.", registry=self.registry),
            "prompt_tokens": Counter("transformers_prompt_tokens", "Tokens of prompts.", registry=self.registry),
            "generation_tokens": Counter("transformers_generation_tokens", "Tokens given.", registry=self.registry),
            "seconds": Histogram(
                "transformers_request_seconds", "How long answers took.", buckets=BUCKETS_S, registry=self.registry
            ),
            # Upstream's name, as beside vLLM.
            "rejected": Counter("kaito_ratelimit_rejected", "Requests answered with 429.", registry=self.registry),
        }
        for name, metric in own.items():
            object.__setattr__(self, name, metric)

    def text(self) -> bytes:
        """All of them, in the text format."""
        return generate_latest(self.registry)
