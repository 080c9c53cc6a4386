"""What the agent counts, in a registry of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import field, frozen
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from inference_server import contract

STATES = (contract.STATE_PENDING, contract.STATE_LOADING, contract.STATE_LOADED, contract.STATE_FAILED)
LOAD_BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


@frozen
class Metrics:
    """All of them; `registry` is what is exposed."""

    registry: CollectorRegistry = field(factory=CollectorRegistry)
    adapters: Gauge = field(init=False)
    loads: Counter = field(init=False)
    failures: Counter = field(init=False)
    load_seconds: Histogram = field(init=False)

    @adapters.default
    def _adapters(self) -> Gauge:
        return Gauge("kaito_adapters", "Wanted adapters by state.", ["state"], registry=self.registry)

    @loads.default
    def _loads(self) -> Counter:
        told = "What the engine was told: load, replace, unload."
        return Counter("kaito_adapter_changes", told, ["change"], registry=self.registry)

    @failures.default
    def _failures(self) -> Counter:
        told = "Adapters that could not be fetched, checked or loaded."
        return Counter("kaito_adapter_failures", told, ["reason"], registry=self.registry)

    @load_seconds.default
    def _load_seconds(self) -> Histogram:
        told = "How long the engine took to load one."
        return Histogram("kaito_adapter_load_seconds", told, buckets=LOAD_BUCKETS_S, registry=self.registry)

    def count(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Sets the states of the report."""
        told = [entry["state"] for entry in entries]
        for name in STATES:
            self.adapters.labels(state=name).set(told.count(name))
