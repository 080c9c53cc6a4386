"""The controller: what ends up reconciled, when again, and that nothing ends it but its stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from kaito_controller.kube.core import CONFIG_MAPS
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.cache import Cache, StaleCacheError
from kaito_controller.machinery.client import Client
from kaito_controller.machinery.controller import Controller, Request, Result, TerminalError
from kaito_controller.machinery.errors import ApiError
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.source import Watch, enqueue_self
from kaito_controller.testing.clock import VirtualClock, virtual_time
from kaito_controller.testing.transport import ScriptedTransport, Stream, event, listing, obj

A = Request("default", "a")

Act = Callable[[Request], Awaitable[Result]]


class Acting:
    """A reconciler that writes down when it was asked what, and does what the test says."""

    def __init__(self, clock: VirtualClock, act: Act) -> None:
        self._clock = clock
        self._act = act
        self.calls: list[tuple[float, str]] = []

    async def reconcile(self, request: Request) -> Result:
        self.calls.append((round(self._clock.monotonic(), 6), request.key))
        return await self._act(request)

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.calls]


class World:
    """A controller over scripted ConfigMaps, with its metrics."""

    def __init__(self, clock: VirtualClock, act: Act, objects: Iterable[Object], streams: Iterable[Stream], **more):
        self.clock = clock
        self.metrics = Metrics()
        self.reconciler = Acting(clock, act)
        self.transport = ScriptedTransport(clock, [listing(CONFIG_MAPS, "10", *objects)], streams)
        self.cache = Cache(Client(self.transport), clock, self.metrics)
        watch = Watch(CONFIG_MAPS, enqueue_self)
        self.controller = Controller("maps", self.reconciler, [watch], self.cache, clock, self.metrics, **more)
        self.stop = asyncio.Event()

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"controller_runtime_{name}", {"controller": "maps", **labels})


@asynccontextmanager
async def world(
    clock: VirtualClock, act: Act, *, objects: Iterable[Object] = (), streams: Iterable[Stream] = (), **more
) -> AsyncIterator[World]:
    made = World(clock, act, objects, streams, **more)
    made.cache.start()
    running = asyncio.create_task(made.controller.run(made.stop))
    try:
        yield made
    finally:
        made.stop.set()
        await running
        await made.cache.stop()


def cm(name: str, version: str = "1") -> Object:
    return obj(CONFIG_MAPS, name, version)


async def done(_: Request) -> Result:
    return Result.done()


@virtual_time
async def test_every_object_of_the_first_list_is_reconciled_once(clock: VirtualClock) -> None:
    """CT4, CT11: after the caches have synced, and not again."""
    async with world(clock, done, objects=[cm("a"), cm("b")]) as it:
        await clock.sleep(3600)
    assert it.reconciler.calls == [(0, "default/a"), (0, "default/b")]
    assert it.metric("reconcile_total", result="success") == 2


@virtual_time
async def test_an_exception_comes_back_ever_slower_and_success_starts_over(clock: VirtualClock) -> None:
    """CT1, CT6, CT8: 5, 10, 20 ms ...; a defect of the reconciler is counted and survived."""
    outcomes: list[Exception | None] = [KeyError("x"), ApiError(500), OSError(), None, ValueError()]

    async def act(_: Request) -> Result:
        outcome = outcomes.pop(0) if outcomes else None
        if outcome is not None:
            raise outcome
        return Result.done()

    async with world(clock, act, objects=[cm("a")]) as it:
        await clock.sleep(1)
        it.controller.queue.add(A)
        await clock.sleep(1)
    assert it.reconciler.times == pytest.approx([0, 0.005, 0.015, 0.035, 1, 1.005])
    assert it.metric("reconcile_errors_total") == 4
    assert it.metric("reconcile_panics_total") == 1


@virtual_time
async def test_requeue_after_looks_again_then(clock: VirtualClock) -> None:
    """CT2: forgets failures and comes back after exactly that time."""

    async def act(_: Request) -> Result:
        return Result.requeue(30, "waiting for the node") if clock.monotonic() < 60 else Result.done()

    async with world(clock, act, objects=[cm("a")]) as it:
        await clock.sleep(600)
    assert it.reconciler.times == [0, 30, 60]
    assert it.metric("reconcile_total", result="requeue_after") == 2


@virtual_time
async def test_a_terminal_error_waits_for_a_change(clock: VirtualClock) -> None:
    """CT5: anywhere in the chain of causes; both counters rise; the next change is reconciled."""

    async def act(_: Request) -> Result:
        raise RuntimeError("cannot plan") from TerminalError("the preset does not exist")

    streams = [Stream([100.0, event("MODIFIED", cm("a", "20"))], stays=True)]
    async with world(clock, act, objects=[cm("a")], streams=streams) as it:
        await clock.sleep(3600)
    assert it.reconciler.times == [0, 100]
    assert (it.metric("reconcile_errors_total"), it.metric("terminal_reconcile_errors_total")) == (2, 2)


@virtual_time
async def test_a_reconcile_that_hangs_is_cut_off_and_tried_again(clock: VirtualClock) -> None:
    """CT12."""

    async def act(_: Request) -> Result:
        if clock.monotonic() < 1:
            await clock.sleep(10_000)
        return Result.done()

    async with world(clock, act, objects=[cm("a")], reconcile_timeout_s=20) as it:
        await clock.sleep(100)
    assert it.reconciler.times == pytest.approx([0, 20.005])
    assert it.metric("reconcile_timeouts_total") == 1


@virtual_time
async def test_a_stray_cancellation_does_not_end_a_worker(clock: VirtualClock) -> None:
    """CT7: a CancelledError that nobody sent to the worker is a failure like any other."""

    async def act(_: Request) -> Result:
        if clock.monotonic() == 0:
            raise asyncio.CancelledError
        return Result.done()

    async with world(clock, act, objects=[cm("a")]) as it:
        await clock.sleep(1)
    assert it.reconciler.times == pytest.approx([0, 0.005])


@virtual_time
async def test_workers_share_keys_but_never_one_key(clock: VirtualClock) -> None:
    """CT9: N keys run N-wide, one key never in two workers."""
    busy: set[str] = set()
    widest = 0

    async def act(request: Request) -> Result:
        nonlocal widest
        assert request.key not in busy
        busy.add(request.key)
        widest = max(widest, len(busy))
        await clock.sleep(2)
        busy.discard(request.key)
        return Result.done()

    changes = [part for version in range(20, 40) for part in (event("MODIFIED", cm("a", str(version))), 0.3)]
    streams = [Stream(changes, stays=True)]
    async with world(clock, act, objects=[cm("a"), cm("b"), cm("c")], streams=streams, workers=3) as it:
        await clock.sleep(60)
    assert widest == 3
    assert it.metric("reconcile_errors_total") == 0
    assert it.reconciler.calls[-1][0] >= 19 * 0.3


@virtual_time
async def test_a_stop_lets_workers_finish_what_they_are_at(clock: VirtualClock) -> None:
    """CT15: the reconcile under way ends; what waits is left for the next start."""
    finished: list[str] = []

    async def act(request: Request) -> Result:
        await clock.sleep(5)
        finished.append(request.name)
        return Result.done()

    async with world(clock, act, objects=[cm("a"), cm("b")]) as it:
        await clock.sleep(1)
        it.stop.set()
    assert finished == ["a"]
    assert clock.monotonic() == 5


@virtual_time
async def test_nothing_is_reconciled_before_the_first_list(clock: VirtualClock) -> None:
    """CT11: events and requests wait until the cache can answer for all objects."""
    made = World(clock, done, [], [])
    made.transport.answers.clear()
    made.transport.answers.extend([ApiError(503, "ServiceUnavailable")] * 3 + [listing(CONFIG_MAPS, "10", cm("a"))])
    made.cache.start()
    made.controller.queue.add(A)
    running = asyncio.create_task(made.controller.run(made.stop))
    await clock.sleep(2)
    assert made.reconciler.calls == []
    await clock.sleep(20)
    assert [key for _, key in made.reconciler.calls] == ["default/a"]
    made.stop.set()
    await running
    await made.cache.stop()


@virtual_time
async def test_every_series_exists_before_the_first_reconcile(clock: VirtualClock) -> None:
    """MX1."""
    it = World(clock, done, [], [], workers=4)
    names = ["reconcile_errors_total", "terminal_reconcile_errors_total", "reconcile_panics_total"]
    names += ["reconcile_timeouts_total", "reconcile_time_seconds_count", "active_workers"]
    assert [it.metric(name) for name in names] == [0] * len(names)
    results = ["error", "requeue_after", "requeue", "success"]
    assert [it.metric("reconcile_total", result=result) for result in results] == [0] * 4
    assert it.metric("max_concurrent_reconciles") == 4


@virtual_time
async def test_failures_are_logged_with_what_helps(clock: VirtualClock) -> None:
    """CT14: who and what, a reconcileID, and the traceback of a defect only; stale reads are no news."""
    outcomes: list[Exception] = [StaleCacheError("behind"), ApiError(500, "InternalError"), KeyError("x")]

    async def act(_: Request) -> Result:
        if outcomes:
            raise outcomes.pop(0)
        return Result.done()

    with capture_logs() as logs:
        async with world(clock, act, objects=[cm("a")]):
            await clock.sleep(1)
    failures = [entry for entry in logs if "failures" in entry]
    assert [(entry["log_level"], "exc_info" in entry) for entry in failures] == [
        ("debug", False),
        ("warning", False),
        ("error", True),
    ]


def test_a_controller_needs_something_to_watch() -> None:
    """CT16."""
    clock, metrics = VirtualClock(), Metrics()
    cache = Cache(Client(ScriptedTransport(clock)), clock, metrics)
    with pytest.raises(ValueError, match="nothing to watch"):
        Controller("empty", Acting(clock, done), [], cache, clock, metrics)
