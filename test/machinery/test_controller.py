"""The life of a controller: what it waits for, who works at the same time, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest

from kaito_controller.kube.core import CONFIG_MAPS, NODES
from kaito_controller.machinery.backoff import ItemBackoff
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.cache.event import Change, Event
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.controller.channel import Channel, ChannelSource
from kaito_controller.machinery.controller.controller import Controller, FeedSyncError, Request, Result
from kaito_controller.machinery.controller.feed import LOW_PRIORITY, TaskFeed, priority_of
from kaito_controller.machinery.controller.source import Watch, enqueue_self
from kaito_controller.machinery.errors import ApiError
from kaito_controller.machinery.manager.manager import Manager
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.reconcile.failure import ReconcilePanicError
from kaito_controller.testing.clock import VirtualClock, cancelled, settle, virtual_time
from kaito_controller.testing.controlled import MAPS, Controlled, HeldFeed, cm, controlled, done
from kaito_controller.testing.transport import ScriptedTransport, Stream, event, listing

A = Request("default", "a")


@pytest.mark.scenario("CT9")
@virtual_time
async def test_workers_share_keys_but_never_one_key(clock: VirtualClock) -> None:
    """N keys run N-wide, one key never in two workers, however often it changes meanwhile."""
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
    async with controlled(clock, act, objects=[cm("a"), cm("b"), cm("c")], streams=streams, workers=3) as it:
        await clock.sleep(60)
    assert widest == 3
    assert it.metric("reconcile_errors_total") == 0
    assert it.reconciler.calls[-1][0] >= 19 * 0.3


@pytest.mark.scenario("CT9")
@pytest.mark.parametrize(("workers", "took_s"), [(None, 100), (1, 100), (10, 10), (100, 1)])
def test_so_many_run_at_a_time_as_there_are_workers(workers: int | None, took_s: int) -> None:
    """One worker unless told; a hundred keys of a second each take a hundred seconds, shared among the workers."""

    @virtual_time
    async def scenario(clock: VirtualClock) -> None:
        async def act(_: Request) -> Result:
            await clock.sleep(1)
            return Result.done()

        more = {} if workers is None else {"workers": workers}
        async with controlled(clock, act, objects=[cm(f"map-{number}") for number in range(100)], **more) as it:
            await clock.sleep(took_s - 0.5)
            assert it.metric("reconcile_total", result="success") == 100 - (workers or 1)
            await clock.sleep(1)
            assert it.metric("reconcile_total", result="success") == 100
            assert it.metric("max_concurrent_reconciles") == (workers or 1)

    scenario()


@pytest.mark.scenario("CT10", "CT11")
@virtual_time
async def test_feeds_start_together_and_work_begins_when_the_last_has_synced(clock: VirtualClock) -> None:
    """Each feed has the whole time for itself; no request is reconciled before, wherever it came from."""
    slow = [HeldFeed(clock, "slow", 100), HeldFeed(clock, "slower", 110)]
    async with controlled(clock, done, objects=[cm("a")], watches=[MAPS, *slow], sync_timeout_s=120) as it:
        await settle()
        assert [feed.started_at for feed in slow] == [[0], [0]]
        it.controller.queue.add(Request("default", "early"))
        await clock.sleep(109)
        assert it.reconciler.calls == []
        await clock.sleep(10)
    assert it.reconciler.calls == [(110, "default/early"), (110, "default/a")]
    assert all(feed.is_stopped for feed in slow)


@pytest.mark.scenario("CT10")
@virtual_time
async def test_a_feed_that_does_not_sync_fails_the_start(clock: VirtualClock) -> None:
    """After its own timeout, with an error that names it; nothing was reconciled, and nothing is left running."""
    late = HeldFeed(clock, "late", 10_000)
    it = Controlled(clock, done, objects=[cm("a")], watches=[MAPS, late])
    it.cache.start()
    with pytest.raises(FeedSyncError, match=r"controller 'maps': late: no complete list within 120 s"):
        await it.controller.run(it.stop)
    assert clock.monotonic() == 120
    assert (it.reconciler.calls, late.is_stopped) == ([], True)
    await it.cache.stop()


class BrokenFeed(HeldFeed):
    """Fails, at its start or later."""

    def __init__(self, clock: VirtualClock, *, at_start: bool) -> None:
        super().__init__(clock, "broken")
        self._at_start = at_start

    def start(self, queue):
        if self._at_start:
            raise OSError("cannot start")
        super().start(queue)

    async def wait_synced(self) -> None:
        await self._clock.sleep(5)
        raise OSError("cannot sync")


@pytest.mark.scenario("CT10")
@pytest.mark.parametrize("at_start", [True, False])
def test_an_error_of_a_feed_fails_the_start(at_start: bool) -> None:
    """It is what run() raises; the other feeds are not waited for."""

    @virtual_time
    async def scenario(clock: VirtualClock) -> None:
        slow = HeldFeed(clock, "slow", 100)
        it = Controlled(clock, done, watches=[slow, BrokenFeed(clock, at_start=at_start)])
        with pytest.raises(OSError, match="cannot"):
            await it.controller.run(it.stop)
        assert clock.monotonic() == (0 if at_start else 5)
        assert slow.is_stopped

    scenario()


@pytest.mark.scenario("CT10")
@pytest.mark.parametrize("how", ["stopped", "cancelled"])
def test_an_end_while_feeds_sync_is_no_error(how: str) -> None:
    """A stop makes run() return; a cancellation stays one. No task is left behind either way."""

    @virtual_time
    async def scenario(clock: VirtualClock) -> None:
        late = HeldFeed(clock, "late", 10_000)
        it = Controlled(clock, done, watches=[late])
        running = asyncio.create_task(it.controller.run(it.stop))
        await clock.sleep(30)
        if how == "stopped":
            it.stop.set()
            await running
        else:
            await cancelled(running)
            assert running.cancelled()
        assert (clock.monotonic(), late.is_stopped) == (30, True)

    scenario()


@pytest.mark.scenario("CT10")
@virtual_time
async def test_a_kind_that_is_not_installed_is_asked_for_every_10_s(clock: VirtualClock) -> None:
    """A definition that is installed a minute late is found within 10 s, inside the timeout; the error names it."""
    installed_at = 71.0

    def answer(_: object) -> dict[str, object]:
        if clock.monotonic() < installed_at:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        return listing(CONFIG_MAPS, "10", cm("a"))

    it = Controlled(clock, done)
    it.transport.answers.clear()
    it.transport.answers.extend([answer] * 100)
    it.cache.start()
    running = asyncio.create_task(it.controller.run(it.stop))
    await clock.sleep(60)
    assert "404 NotFound" in it.controller._feeds[0].name
    await clock.sleep(60)
    asked = [call.at for call in it.transport.lists]
    assert max(later - earlier for earlier, later in pairwise(asked)) <= 10
    assert installed_at < it.reconciler.times[0] <= installed_at + 10
    it.stop.set()
    await running
    await it.cache.stop()


@pytest.mark.scenario("CT11")
@virtual_time
async def test_nothing_is_reconciled_before_the_first_list(clock: VirtualClock) -> None:
    """Requests wait until the cache can answer for all objects, however late the API server is."""
    made = Controlled(clock, done)
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


@pytest.mark.scenario("CT11")
@virtual_time
async def test_a_controller_starts_once(clock: VirtualClock) -> None:
    """A second run() is an error while the first goes on, and after it ended."""
    async with controlled(clock, done) as it:
        await settle()
        with pytest.raises(RuntimeError, match="'maps' was started already"):
            await it.controller.run(it.stop)
    with pytest.raises(RuntimeError, match="started already"):
        await it.controller.run(it.stop)


@pytest.mark.scenario("CT11")
@virtual_time
async def test_a_watch_that_is_added_later_starts_at_once(clock: VirtualClock) -> None:
    """Its objects are reconciled as those of the others; one that is added before the start waits for it."""
    before, after = HeldFeed(clock, "before"), HeldFeed(clock, "after")
    it = Controlled(clock, done)
    it.controller.watch(before)
    await clock.sleep(5)
    assert before.started_at == []
    it.cache.start()
    running = asyncio.create_task(it.controller.run(it.stop))
    await clock.sleep(5)
    assert before.started_at == [5]
    it.controller.watch(after)
    assert after.started_at == [10]
    it.transport.answers.append(listing(NODES, "20", {"metadata": {"name": "n", "resourceVersion": "20"}}))
    it.controller.watch(Watch(NODES, enqueue_self))
    await clock.sleep(5)
    assert it.reconciler.calls == [(10, "n")]
    it.stop.set()
    await running
    await it.cache.stop()
    assert after.is_stopped


@pytest.mark.scenario("CT11")
@virtual_time
async def test_requests_come_from_channels_too(clock: VirtualClock) -> None:
    """A feed that is no watch adds requests as they come, has nothing to sync, and ends with the controller."""
    channel = Channel()
    source = ChannelSource(channel=channel, to_requests=enqueue_self)
    async with controlled(clock, done, watches=[TaskFeed("outside", source.run)]) as it:
        await clock.sleep(5)
        await channel.send(cm("a"))
        await clock.sleep(5)
    await settle()
    assert it.reconciler.calls == [(5, "default/a")]


def breaking(clock: VirtualClock, error: BaseException) -> TaskFeed:
    """A feed that breaks down after five seconds."""

    async def break_down(_: object) -> None:
        await clock.sleep(5)
        raise error

    return TaskFeed("breaks", break_down)


BREAKS = {"raises": (OSError("gone"), OSError), "is cancelled": (asyncio.CancelledError(), RuntimeError)}


@pytest.mark.parametrize("how", BREAKS)
@virtual_time
async def test_a_controller_does_not_run_on_without_a_feed_that_failed(clock: VirtualClock, how: str) -> None:
    """It would miss what only that feed tells, and nobody would know: workers finish, then run() raises its error."""
    error, raised = BREAKS[how]
    finished: list[float] = []

    async def act(_: Request) -> Result:
        await clock.sleep(8)
        finished.append(clock.monotonic())
        return Result.done()

    held = HeldFeed(clock, "held")
    it = Controlled(clock, act, objects=[cm("a")], watches=[MAPS, breaking(clock, error), held])
    it.cache.start()
    with pytest.raises(raised, match=r"gone|feed breaks: cancelled, though not asked to stop"):
        await it.controller.run(it.stop)
    assert (finished, clock.monotonic(), held.is_stopped) == ([8], 8, True)
    await it.cache.stop()


@pytest.mark.parametrize("synced", [True, False])
@virtual_time
async def test_a_feed_that_fails_before_the_work_begins_is_raised_at_once(clock: VirtualClock, synced: bool) -> None:
    """While others sync, and while the controller waits to lead."""
    held = HeldFeed(clock, "held", 0 if synced else 100)
    it = Controlled(clock, done, watches=[breaking(clock, OSError("gone")), held], warms_up=True)
    with pytest.raises(OSError, match="gone"):
        await (it.controller.warm_up(it.stop) if synced else it.controller.run(it.stop))
    assert (clock.monotonic(), held.is_stopped) == (5, True)


@virtual_time
async def test_a_feed_that_has_no_more_to_tell_ends_no_controller(clock: VirtualClock) -> None:
    """A channel that is closed, say; the others go on."""

    async def once(add: Callable[[Request], None]) -> None:
        add(A)

    async with controlled(clock, done, objects=[cm("b")], watches=[TaskFeed("once", once), MAPS]) as it:
        await clock.sleep(10)
        it.controller.queue.add(A)
        await clock.sleep(10)
    assert it.reconciler.times_of("a") == [0, 10]


@virtual_time
async def test_a_watch_asks_for_no_more_than_it_says(clock: VirtualClock) -> None:
    """Namespace, selectors and the metadata-only form go to the server, in lists and watches."""
    watch = Watch(CONFIG_MAPS, enqueue_self, (), "default", "a=b", "metadata.name=a", metadata_only=True)
    async with controlled(clock, done, objects=[cm("a")], watches=[watch]) as it:
        await clock.sleep(5)
    assert it.reconciler.calls == [(0, "default/a")]
    for call in (*it.transport.lists, *it.transport.watches):
        assert "/namespaces/default/" in call.path
        assert (call.query["labelSelector"], call.query["fieldSelector"]) == ("a=b", "metadata.name=a")
        assert "as=PartialObjectMetadata" in call.accept


@pytest.mark.scenario("CT13")
@virtual_time
async def test_a_warm_up_fills_the_queue_and_reconciles_nothing(clock: VirtualClock) -> None:
    """Feeds start before the election, once; workers only after it; a watch added meanwhile starts at once."""
    held, later = HeldFeed(clock, "held", 3), HeldFeed(clock, "later")
    it = Controlled(clock, done, objects=[cm("a"), cm("b")], watches=[MAPS, held], warms_up=True)
    assert it.controller.warms_up
    it.cache.start()
    warming = asyncio.create_task(it.controller.warm_up(it.stop))
    await clock.sleep(3)
    it.controller.watch(later)
    assert later.started_at == [3]
    await clock.sleep(57)
    assert (it.reconciler.calls, len(it.controller.queue)) == ([], 2)
    running = asyncio.create_task(it.controller.run(it.stop))
    await clock.sleep(10)
    assert it.reconciler.calls == [(60, "default/a"), (60, "default/b")]
    assert (held.started_at, later.started_at) == ([0], [3])
    it.stop.set()
    await asyncio.gather(running, warming)
    await it.cache.stop()


@pytest.mark.scenario("CT13")
@virtual_time
async def test_whoever_leads_before_the_warm_up_is_over_waits_for_it(clock: VirtualClock) -> None:
    """run() joins the warm-up that is under way instead of starting the feeds again."""
    held = HeldFeed(clock, "held", 30)
    it = Controlled(clock, done, watches=[held], warms_up=True)
    warming = asyncio.create_task(it.controller.warm_up(it.stop))
    await clock.sleep(10)
    it.controller.queue.add(A)
    running = asyncio.create_task(it.controller.run(it.stop))
    await clock.sleep(60)
    assert (it.reconciler.times, held.started_at) == ([30], [0])
    it.stop.set()
    await asyncio.gather(running, warming)


@pytest.mark.scenario("CT13")
@virtual_time
async def test_a_warm_up_ends_with_the_stop(clock: VirtualClock) -> None:
    """Asked to stop before it leads, it returns, and so does a run() that comes too late."""
    it = Controlled(clock, done, watches=[HeldFeed(clock, "held", 1000)], warms_up=True)
    warming = asyncio.create_task(it.controller.warm_up(it.stop))
    await clock.sleep(10)
    it.stop.set()
    await warming
    await it.controller.run(it.stop)
    assert (clock.monotonic(), it.reconciler.calls) == (10, [])


@pytest.mark.scenario("CT13", "MG4")
@virtual_time
async def test_what_warmed_up_and_never_led_leaves_no_feed_behind(clock: VirtualClock) -> None:
    """Nobody calls run() in a process that stops before it leads, so the warm-up ends what it began."""

    async def tick(add: Callable[[Request], None]) -> None:
        while True:
            add(A)
            await clock.sleep(1)

    held = HeldFeed(clock, "held")
    it = Controlled(clock, done, watches=[TaskFeed("ticks", tick), held], warms_up=True)
    warming = asyncio.create_task(it.controller.warm_up(it.stop))
    await clock.sleep(10)
    it.stop.set()
    await warming
    assert (held.is_stopped, clock.monotonic()) == (True, 10)


@pytest.mark.scenario("CT14")
def test_a_name_is_taken_once() -> None:
    """Two controllers of one name would share metrics: refused, unless told otherwise."""
    clock, metrics = VirtualClock(), Metrics()
    cache = Cache(Client(ScriptedTransport(clock)), clock, metrics)
    for name in ("maps", "others"):
        Controller(name, _Nobody(), [MAPS], cache, clock, metrics)
    with pytest.raises(ValueError, match="'maps': the name is taken"):
        Controller("maps", _Nobody(), [MAPS], cache, clock, metrics)
    Controller("maps", _Nobody(), [MAPS], cache, clock, metrics, unique_name=False)
    Controller("maps", _Nobody(), [MAPS], cache, clock, Metrics())


class _Nobody:
    async def reconcile(self, request: Request) -> Result:  # noqa: ARG002 - it looks at nothing
        return Result.done()


@pytest.mark.scenario("CT15")
@virtual_time
async def test_a_stop_lets_workers_finish_what_they_are_at(clock: VirtualClock) -> None:
    """The queue is shut down at once, reconciles under way end, run() returns after the last; what waits is left."""
    finished: list[str] = []

    async def act(request: Request) -> Result:
        await clock.sleep({"a": 5, "b": 9}.get(request.name, 1))
        finished.append(request.name)
        return Result.requeue(1)

    it = Controlled(clock, act, objects=[cm("a"), cm("b"), cm("c")], workers=2)
    it.cache.start()
    running = asyncio.create_task(it.controller.run(it.stop))
    await clock.sleep(1)
    it.stop.set()
    await settle()
    assert it.controller.queue.is_shut_down
    await running
    assert (finished, clock.monotonic()) == (["a", "b"], 9)
    assert len(it.controller.queue) == 0
    await it.cache.stop()


@pytest.mark.scenario("CT15")
@virtual_time
async def test_a_cut_off_ends_the_workers_too(clock: VirtualClock) -> None:
    """When run() is cancelled, so is every reconcile under way, and none is left behind."""

    async def act(_: Request) -> Result:
        await asyncio.Event().wait()
        return Result.done()

    it = Controlled(clock, act, objects=[cm("a"), cm("b")], workers=2, reconcile_timeout_s=None)
    it.cache.start()
    running = asyncio.create_task(it.controller.run(it.stop))
    await clock.sleep(1)
    it.stop.set()
    await clock.sleep(30)
    assert not running.done()
    await cancelled(running)
    assert it.controller.queue.processing == 0
    await it.cache.stop()


@pytest.mark.scenario("CT8")
@virtual_time
async def test_a_defect_that_is_not_survived_ends_the_operator(clock: VirtualClock) -> None:
    """The manager stops everything and raises what the controller raised."""

    async def act(_: Request) -> Result:
        raise KeyError("x")

    it = Controlled(clock, act, objects=[cm("a")], recovers=False)
    manager = Manager(it.cache, clock, it.metrics)
    manager.add(it.controller)
    with pytest.raises(ReconcilePanicError, match="panic"):
        await manager.run(it.stop)


@pytest.mark.scenario("PQ6")
@virtual_time
async def test_what_is_no_news_waits_for_what_is(clock: VirtualClock) -> None:
    """The first list and updates of an unchanged version at -100, all else at 0; requeues keep it or say another."""
    asked: list[tuple[str, int]] = []

    async def act(request: Request) -> Result:
        asked.append((request.name, it.controller.queue.priority(request)))
        if request.name == "busy":
            await clock.sleep(5)
        if request.name == "fails" and len(asked) < 5:
            raise OSError
        return Result.requeue(100, priority=7) if request.name == "rises" and clock.monotonic() < 90 else Result.done()

    objects = [cm("busy"), cm("fails"), cm("rises"), cm("changes")]
    streams = [Stream([1.0, event("MODIFIED", cm("changes", "20"))], stays=True)]
    async with controlled(clock, act, objects=objects, streams=streams, rate_limiter=ItemBackoff(base_s=50)) as it:
        await clock.sleep(600)
    assert asked == [("busy", -100), ("changes", 0), ("fails", -100), ("rises", -100), ("fails", -100), ("rises", 7)]


@pytest.mark.scenario("PQ6")
def test_the_priority_of_an_event() -> None:
    """Initial adds and updates that kept the version are low; adds, changes and deletions are not."""
    old, new = cm("a", "1"), cm("a", "2")
    assert priority_of(Event(change=Change.ADDED, object=old, initial=True)) == LOW_PRIORITY == -100
    assert priority_of(Event(change=Change.UPDATED, object=old, old=dict(old))) == -100
    assert priority_of(Event(change=Change.UPDATED, object=new, old=old)) == 0
    assert priority_of(Event(change=Change.ADDED, object=old)) == 0
    assert priority_of(Event(change=Change.DELETED, object=old)) == 0


@pytest.mark.scenario("CT16")
def test_a_controller_needs_something_to_watch_and_somebody_to_work() -> None:
    """At least one watch, at least one worker."""
    clock, metrics = VirtualClock(), Metrics()
    cache = Cache(Client(ScriptedTransport(clock)), clock, metrics)
    with pytest.raises(ValueError, match="nothing to watch"):
        Controller("empty", _Nobody(), [], cache, clock, metrics)
    with pytest.raises(ValueError, match="workers must be at least 1, is 0"):
        Controller("idle", _Nobody(), [MAPS], cache, clock, metrics, workers=0)
