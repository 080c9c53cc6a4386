"""What is scraped: names, types, labels and buckets are those that dashboards for controller-runtime read.

The expectation is written by hand from the scenarios MX1 to MX6, not from the code.
"""

from __future__ import annotations

import re
from collections import defaultdict

import pytest
from attrs import define, field
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from kaito_controller.machinery.exposition.distribution import Distribution
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.queue.workqueue import WorkQueue
from kaito_controller.machinery.reconcile.request import Request, Result
from kaito_controller.machinery.rest.metrics import RequestMetrics
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.controlled import Controlled, cm, controlled, done

RECONCILE_S = """
    .005 .01 .025 .05 .1 .15 .2 .25 .3 .35 .4 .45 .5 .6 .7 .8 .9 1 1.25 1.5 1.75 2 2.5 3 3.5 4 4.5 5 6 7 8 9 10 15 20
    25 30 40 50 60
"""
QUEUE_S = "1e-8 1e-7 1e-6 1e-5 1e-4 1e-3 1e-2 1e-1 1 10 100 1000"
REQUEST_S = ".005 .025 .1 .25 .5 1 2 4 8 15 30 60"
SIZES = "64 256 512 1024 4096 16384 65536 262144 1048576 4194304 16777216"

ALWAYS = {
    "controller_runtime_reconcile_total": ("counter", "controller result", ""),
    "controller_runtime_reconcile_errors_total": ("counter", "controller", ""),
    "controller_runtime_terminal_reconcile_errors_total": ("counter", "controller", ""),
    "controller_runtime_reconcile_panics_total": ("counter", "controller", ""),
    "controller_runtime_reconcile_timeouts_total": ("counter", "controller", ""),
    "controller_runtime_reconcile_time_seconds": ("histogram", "controller", RECONCILE_S),
    "controller_runtime_active_workers": ("gauge", "controller", ""),
    "controller_runtime_max_concurrent_reconciles": ("gauge", "controller", ""),
    "workqueue_depth": ("gauge", "name controller priority", ""),
    "workqueue_adds_total": ("counter", "name controller", ""),
    "workqueue_retries_total": ("counter", "name controller", ""),
    "workqueue_unfinished_work_seconds": ("gauge", "name controller", ""),
    "workqueue_longest_running_processor_seconds": ("gauge", "name controller", ""),
    "workqueue_queue_duration_seconds": ("histogram", "name controller", QUEUE_S),
    "workqueue_work_duration_seconds": ("histogram", "name controller", QUEUE_S),
}
OF_CLIENT = {
    "rest_client_requests_total": ("counter", "code method host", ""),
    "rest_client_request_retries_total": ("counter", "code verb host", ""),
    "leader_election_master_status": ("gauge", "name", ""),
    "certwatcher_read_certificate_total": ("counter", "", ""),
    "certwatcher_read_certificate_errors_total": ("counter", "", ""),
}
ON_REQUEST = {
    "rest_client_request_duration_seconds": ("histogram", "verb host", REQUEST_S),
    "rest_client_dns_resolution_duration_seconds": ("histogram", "host", REQUEST_S.removesuffix(" 60")),
    "rest_client_request_size_bytes": ("histogram", "verb host", SIZES),
    "rest_client_response_size_bytes": ("histogram", "verb host", SIZES),
    "rest_client_rate_limiter_duration_seconds": ("histogram", "verb host", REQUEST_S),
}

SAMPLE = re.compile(r"^(?P<name>[a-z_:]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
LABEL = re.compile(r'([a-z_]+)="([^"]*)"')


@define
class Family:
    """One family as it is exposed."""

    kind: str
    labels: set[str] = field(factory=set)
    bounds: list[float] = field(factory=list)
    samples: dict[str, dict[str, float]] = field(factory=lambda: defaultdict(dict))


def scrape(registry: CollectorRegistry) -> dict[str, Family]:
    """Read the text that a Prometheus server would be given."""
    families: dict[str, Family] = {}
    for line in generate_latest(registry).decode().splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.removeprefix("# TYPE ").split()
            families[name] = Family(kind)
        elif not line.startswith("#"):
            _add(families, line)
    return families


def _add(families: dict[str, Family], line: str) -> None:
    match = SAMPLE.match(line)
    assert match, line
    name, value = match["name"], float(match["value"])
    base = name if name in families else re.sub(r"_(bucket|sum|count)$", "", name)
    labels = dict(LABEL.findall(match["labels"] or ""))
    bound = labels.pop("le", None)
    family = families[base]
    family.labels.update(labels)
    if bound is not None and float(bound) not in family.bounds:
        family.bounds.append(float(bound))
    family.samples[name][" ".join([*labels.values(), *([] if bound is None else [bound])])] = value


def check(families: dict[str, Family], expected: dict[str, tuple[str, str, str]]) -> None:
    for name, (kind, labels, buckets) in expected.items():
        assert name in families, name
        family = families[name]
        assert family.kind == kind, name
        if family.samples:
            assert family.labels == set(labels.split()), name
        if buckets and family.samples:
            assert family.bounds == pytest.approx([*map(float, buckets.split()), float("inf")]), name


@pytest.mark.scenario("MX1", "MX2", "MX3", "MX6")
@virtual_time
async def test_every_series_of_a_controller_exists_before_its_first_reconcile(clock: VirtualClock) -> None:
    """Names, types, labels and buckets, each series at 0, and none that nobody asked for."""
    it = Controlled(clock, done, workers=4)
    families = scrape(it.metrics.registry)
    check(families, ALWAYS)
    for name in ALWAYS:
        values = [value for samples in families[name].samples.values() for value in samples.values()]
        assert values, name
        assert set(values) == ({4} if name.endswith("max_concurrent_reconciles") else {0}), name
    outcomes = set(families["controller_runtime_reconcile_total"].samples["controller_runtime_reconcile_total"])
    assert outcomes == {"maps error", "maps requeue_after", "maps requeue", "maps success"}
    ours = {name for name in families if name.startswith(("controller_runtime_", "workqueue_"))}
    assert ours == set(ALWAYS)


@pytest.mark.scenario("MX4", "MX5")
def test_the_families_of_client_election_and_certificates() -> None:
    """Requests are always counted; durations and sizes exist only where they were asked for."""
    metrics = Metrics()
    metrics.requests.labels("200", "GET", "host").inc()
    metrics.retries.labels("429", "GET", "host").inc()
    metrics.leading.labels("lease").set(1)
    families = scrape(metrics.registry)
    check(families, OF_CLIENT)
    assert not set(ON_REQUEST) & set(families)
    measure = RequestMetrics(metrics.registry)
    for histogram in (measure.duration, measure.request_size, measure.response_size, measure.limiter):
        histogram.labels("GET", "host").observe(1)
    measure.resolution.labels("host").observe(1)
    check(scrape(metrics.registry), OF_CLIENT | ON_REQUEST)


@pytest.mark.scenario("MX6")
@virtual_time
async def test_no_series_of_creation_times_and_no_global_registry(clock: VirtualClock) -> None:
    """`_created` series are off, counters end in `_total`, and two registries know nothing of each other."""
    async with controlled(clock, done, objects=[cm("a")]) as it:
        await clock.sleep(1)
    families = scrape(it.metrics.registry)
    assert not [name for family in families.values() for name in family.samples if name.endswith("_created")]
    counters = [name for name, family in families.items() if family.kind == "counter"]
    assert all(name.endswith("_total") and not name.endswith("_total_total") for name in counters)
    other = scrape(Metrics().registry)
    assert not other["controller_runtime_reconcile_total"].samples
    assert not other["workqueue_adds_total"].samples


@pytest.mark.scenario("MX1", "MX2")
@virtual_time
async def test_reconciles_are_counted_and_timed(clock: VirtualClock) -> None:
    """By result, with the time each took, and how many workers are at it."""

    async def act(request: Request) -> Result:
        await clock.sleep({"a": 0.3, "b": 7.5}[request.name])
        return Result.done()

    async with controlled(clock, act, objects=[cm("a"), cm("b")], workers=2) as it:
        await clock.sleep(0.2)
        assert it.metric("active_workers") == 2
        await clock.sleep(5)
        assert it.metric("active_workers") == 1
        await clock.sleep(5)
        assert it.metric("active_workers") == 0
    assert it.metric("reconcile_total", result="success") == 2
    assert it.metric("reconcile_time_seconds_sum") == pytest.approx(7.8)
    assert it.metric("reconcile_time_seconds_count") == 2
    counted = [it.metric("reconcile_time_seconds_bucket", le=le) for le in ("0.25", "0.35", "7.0", "8.0", "+Inf")]
    assert counted == [0, 1, 1, 2, 2]


@pytest.mark.scenario("MX3")
@virtual_time
async def test_metrics_follow_the_queue(clock: VirtualClock) -> None:
    """Depth, adds, durations and the age of work in progress, which is right at every scrape."""
    registry = CollectorRegistry()
    queue: WorkQueue[str] = WorkQueue(clock, name="q", metrics=Metrics(registry))
    labels = {"name": "q", "controller": "q"}

    def value(name: str, **more: str) -> float | None:
        return registry.get_sample_value(f"workqueue_{name}", labels | more)

    queue.add("a")
    queue.add("a")
    queue.add("b")
    assert (value("depth", priority="0"), value("adds_total")) == (2, 2)
    await clock.sleep(3)
    first = await queue.get()
    await clock.sleep(4)
    second = await queue.get()
    await clock.sleep(1)
    assert (value("unfinished_work_seconds"), value("longest_running_processor_seconds")) == (6, 5)
    queue.add(first)
    assert (value("depth", priority="0"), value("adds_total")) == (1, 3)
    queue.done(first)
    queue.done(second)
    assert (value("queue_duration_seconds_sum"), value("queue_duration_seconds_count")) == (10, 2)
    assert (value("work_duration_seconds_sum"), value("work_duration_seconds_count")) == (6, 2)
    assert [value("work_duration_seconds_bucket", le=le) for le in ("0.1", "1.0", "10.0", "+Inf")] == [0, 1, 2, 2]
    assert (value("unfinished_work_seconds"), value("longest_running_processor_seconds")) == (0, 0)
    queue.shut_down()


@pytest.mark.scenario("MX3")
@virtual_time
async def test_only_delays_count_as_retries(clock: VirtualClock) -> None:
    """Whatever is queued for later, rate-limited or not; what is queued at once is none, and no add before its time."""
    registry = CollectorRegistry()
    queue: WorkQueue[str] = WorkQueue(clock, name="q", metrics=Metrics(registry))

    def value(name: str) -> float | None:
        return registry.get_sample_value(f"workqueue_{name}", {"name": "q", "controller": "q"})

    queue.add("a")
    queue.add_after("b", 0)
    queue.add_after("c", -1)
    assert (value("retries_total"), value("adds_total")) == (0, 3)
    queue.add_after("d", 1)
    queue.add_rate_limited("e")
    queue.add_rate_limited("f", at_most_s=0)
    assert (value("retries_total"), value("adds_total")) == (2, 4)
    await clock.sleep(2)
    assert (value("retries_total"), value("adds_total")) == (2, 6)


@pytest.mark.scenario("MX2")
def test_a_distribution_counts_a_value_on_a_bound_below_it() -> None:
    """The buckets are cumulative, their bounds belong to them, and what is above all of them is in the last."""
    distribution = Distribution((1, 2, 5))
    for value in (0.5, 1, 1.5, 2, 5, 7):
        distribution.observe(value)
    assert distribution.cumulative() == [(1, 2), (2, 4), (5, 5), (float("inf"), 6)]
    assert (distribution.count, distribution.total) == (6, 17)
