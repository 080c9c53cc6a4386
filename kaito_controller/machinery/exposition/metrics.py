"""Families whose values are plain numbers elsewhere, and are read when somebody scrapes.

An increment of the client library takes a lock, and its histogram walks the buckets one by one: too much for a queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from kaito_controller.machinery.exposition.distribution import Distribution

Readings: TypeAlias = Callable[[], Iterable[tuple[Sequence[str], float]]]
"""Says, when asked, every series of one owner: label values and the value now."""


class ReadFamily(Collector):
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
        """For the registry: the family's name and type."""
        return [self._empty()]

    def collect(self) -> Iterable[Metric]:
        """For the registry: every series as it is now."""
        family = self._empty()
        for readings in self._owners.values():
            for labels, value in readings():
                family.add_metric(labels, value)
        return [family]


class DistributionFamily(Collector):
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
        """For the registry: the family's name and type."""
        return [self._empty()]

    def collect(self) -> Iterable[Metric]:
        """For the registry: every series as it is now."""
        family = self._empty()
        for labels, child in self._children.items():
            buckets = [(_le(bound), float(count)) for bound, count in child.cumulative()]
            family.add_metric(labels, buckets, child.total)
        return [family]


def _le(bound: float) -> str:
    text: str = floatToGoString(bound)  # type: ignore[no-untyped-call]
    return text
