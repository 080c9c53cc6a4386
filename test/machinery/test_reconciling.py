"""What becomes of a request: by what the reconciler answers, raises, or does to its own task."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import pytest
import structlog
from structlog.testing import capture_logs

from kaito_controller.machinery.cache.cache import StaleCacheError
from kaito_controller.machinery.controller.controller import Request, Result, TerminalError
from kaito_controller.machinery.errors import ApiError
from kaito_controller.machinery.reconcile.failure import ReconcilePanicError, is_panic, is_terminal
from kaito_controller.testing.clock import VirtualClock, cancelled, virtual_time
from kaito_controller.testing.controlled import Controlled, cm, controlled, done
from kaito_controller.testing.transport import Stream, event

A = Request("default", "a")


@pytest.mark.scenario("CT1", "CT6")
@virtual_time
async def test_an_exception_comes_back_ever_slower_and_success_starts_over(clock: VirtualClock) -> None:
    """5, 10, 20 ms ...; a conflict is a failure like any other; what is no failure starts the count over."""
    outcomes: list[Exception | None] = [OSError(), ApiError(409, "Conflict"), ApiError(500), None, ValueError()]

    async def act(_: Request) -> Result:
        outcome = outcomes.pop(0) if outcomes else None
        if outcome is not None:
            raise outcome
        return Result.done()

    async with controlled(clock, act, objects=[cm("a")]) as it:
        await clock.sleep(1)
        it.controller.queue.add(A)
        await clock.sleep(1)
    assert it.reconciler.times == pytest.approx([0, 0.005, 0.015, 0.035, 1, 1.005])
    assert it.metric("reconcile_errors_total") == 4
    assert it.metric("reconcile_total", result="error") == 4
    assert it.metric("reconcile_panics_total") == 0


@pytest.mark.scenario("CT2")
@virtual_time
async def test_requeue_after_forgets_failures_and_looks_again_then(clock: VirtualClock) -> None:
    """Exactly that time later, or sooner when something changes; the failures before it are forgotten."""
    outcomes: list[Exception | Result] = [OSError(), OSError(), Result.requeue(30, "a node"), OSError()]
    outcomes.append(Result.requeue(50))

    async def act(_: Request) -> Result:
        outcome = outcomes.pop(0) if outcomes else Result.done()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    streams = [Stream([40.0, event("MODIFIED", cm("a", "20"))], stays=True)]
    async with controlled(clock, act, objects=[cm("a")], streams=streams) as it:
        await clock.sleep(600)
    assert it.reconciler.times == pytest.approx([0, 0.005, 0.015, 30.015, 30.02, 40])
    assert it.metric("reconcile_total", result="requeue_after") == 2


@pytest.mark.scenario("CT3")
@virtual_time
async def test_again_waits_for_the_backoff_and_forgets_nothing(clock: VirtualClock) -> None:
    """Rate-limited without a failure: ever later while it goes on, on top of the failures before; 0 s is the same."""
    outcomes: list[Exception | Result] = [OSError(), Result.again("soon"), Result.requeue(0), Result.again()]

    async def act(_: Request) -> Result:
        outcome = outcomes.pop(0) if outcomes else Result.done()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async with controlled(clock, act, objects=[cm("a")]) as it:
        await clock.sleep(60)
    assert it.reconciler.times == pytest.approx([0, 0.005, 0.015, 0.035, 0.075])
    assert it.metric("reconcile_total", result="requeue") == 3
    assert it.metric("reconcile_errors_total") == 1
    assert it.controller.queue.failures(A) == 0


@pytest.mark.scenario("CT4", "CT11")
@virtual_time
async def test_every_object_of_the_first_list_is_reconciled_once(clock: VirtualClock) -> None:
    """After the caches have synced; done means not again, and forgotten."""
    async with controlled(clock, done, objects=[cm("a"), cm("b")]) as it:
        await clock.sleep(3600)
    assert it.reconciler.calls == [(0, "default/a"), (0, "default/b")]
    assert it.metric("reconcile_total", result="success") == 2
    assert it.controller.queue.failures(A) == 0


def _wrapped(error: Exception) -> Exception:
    try:
        raise RuntimeError("cannot plan") from error  # noqa: TRY301 - only a raise sets the cause
    except RuntimeError as wrapped:
        return wrapped


def _while_handling(error: Exception) -> Exception:
    try:
        try:
            raise error
        except type(error):
            raise OSError("the report of it failed")  # noqa: B904 - that there is no cause is the point
    except OSError as raised:
        return raised


def _circular() -> Exception:
    first, second = OSError(), RuntimeError()
    first.__cause__, second.__cause__ = second, first
    return first


@pytest.mark.scenario("CT5")
def test_a_terminal_error_is_found_anywhere_in_the_chain_of_causes() -> None:
    """As itself, as a cause of a cause, in a group, and as the cause of a member of a group; nowhere else."""
    terminal = TerminalError("the preset does not exist")
    for error in (
        terminal,
        _wrapped(terminal),
        _wrapped(_wrapped(terminal)),
        ExceptionGroup("two", [OSError(), terminal]),
        _wrapped(ExceptionGroup("nested", [ExceptionGroup("deep", [OSError(), _wrapped(terminal)])])),
    ):
        assert is_terminal(error), error
    for error in (OSError(), _wrapped(OSError()), _while_handling(terminal), _circular()):
        assert not is_terminal(error), error


@pytest.mark.scenario("CT5", "CT6")
@virtual_time
async def test_a_terminal_error_waits_for_a_change(clock: VirtualClock) -> None:
    """Both counters rise by one; no requeue; the next change is reconciled, and earlier failures still count."""
    outcomes = [OSError(), _wrapped(TerminalError("no")), ExceptionGroup("g", [TerminalError("no")]), OSError()]

    async def act(_: Request) -> Result:
        if outcomes:
            raise outcomes.pop(0)
        return Result.done()

    streams = [Stream([100.0, event("MODIFIED", cm("a", "20")), 100.0, event("MODIFIED", cm("a", "21"))], stays=True)]
    async with controlled(clock, act, objects=[cm("a")], streams=streams) as it:
        await clock.sleep(3600)
    assert it.reconciler.times == pytest.approx([0, 0.005, 100, 200, 200.01])
    assert (it.metric("reconcile_errors_total"), it.metric("terminal_reconcile_errors_total")) == (4, 2)
    assert it.metric("reconcile_total", result="error") == 4


@pytest.mark.scenario("CT7")
@virtual_time
async def test_every_request_is_given_back_however_its_reconcile_ends(clock: VirtualClock) -> None:
    """done() runs after a result, an exception, a cancellation of its own, and a cut-off in the middle."""

    async def act(request: Request) -> Result:
        if request.name == "raises":
            raise OSError
        if request.name == "cancelled":
            raise asyncio.CancelledError
        if request.name == "hangs":
            await asyncio.Event().wait()
        return Result.done()

    names = ("fine", "raises", "cancelled", "hangs")
    it = Controlled(clock, act, objects=[cm(name) for name in names], workers=4)
    it.cache.start()
    running = asyncio.create_task(it.controller.run(it.stop))
    await clock.sleep(1)
    assert it.controller.queue.processing == 1
    await cancelled(running)
    assert running.cancelled()
    assert (it.controller.queue.processing, it.metric("active_workers")) == (0, 0)
    await it.cache.stop()


@pytest.mark.scenario("CT8")
@virtual_time
async def test_a_defect_is_survived_counted_and_named(clock: VirtualClock) -> None:
    """A panic is an error like any other, with its own counter and words; so is one in a group of tasks."""
    outcomes: list[BaseException] = [KeyError("x"), ExceptionGroup("tasks", [AttributeError("y")]), SystemExit(3)]

    async def act(_: Request) -> Result:
        if outcomes:
            raise outcomes.pop(0)
        return Result.done()

    with capture_logs() as logs:
        async with controlled(clock, act, objects=[cm("a")]) as it:
            await clock.sleep(1)
    assert it.reconciler.times == pytest.approx([0, 0.005, 0.015, 0.035])
    assert (it.metric("reconcile_panics_total"), it.metric("reconcile_errors_total")) == (3, 3)
    first = next(entry for entry in logs if "failures" in entry)
    assert first["error"] == "panic: KeyError('x') [recovered]"
    assert isinstance(first["exc_info"], KeyError)


@pytest.mark.scenario("CT8")
@virtual_time
async def test_a_defect_ends_a_controller_that_does_not_recover(clock: VirtualClock) -> None:
    """The others finish what they are at, then run() raises; it is a panic, and no error that was dealt with."""
    finished: list[str] = []

    async def act(request: Request) -> Result:
        if request.name == "bad":
            await clock.sleep(1)
            raise KeyError("x")
        await clock.sleep(5)
        finished.append(request.name)
        return Result.done()

    it = Controlled(clock, act, objects=[cm("bad"), cm("good"), cm("waits")], workers=2, recovers=False)
    it.cache.start()
    with pytest.raises(ReconcilePanicError, match=r"controller maps, default/bad: panic: KeyError\('x'\)"):
        await it.controller.run(it.stop)
    assert (finished, clock.monotonic()) == (["good"], 5)
    assert (it.metric("reconcile_panics_total"), it.metric("reconcile_errors_total")) == (1, 0)
    await it.cache.stop()


def test_what_a_correct_reconciler_raises_is_no_panic() -> None:
    """Failures of the world are not defects of the code."""
    for error in (OSError(), ApiError(500), TimeoutError(), ValueError(), TerminalError(), asyncio.CancelledError()):
        assert not is_panic(error), error


@pytest.mark.scenario("CT12")
@virtual_time
async def test_a_reconcile_that_hangs_is_cut_off_and_tried_again(clock: VirtualClock) -> None:
    """The limit counts as a timeout; the request is tried again."""

    async def act(_: Request) -> Result:
        if clock.monotonic() < 1:
            await clock.sleep(10_000)
        return Result.done()

    async with controlled(clock, act, objects=[cm("a")], reconcile_timeout_s=20) as it:
        await clock.sleep(100)
    assert it.reconciler.times == pytest.approx([0, 20.005])
    assert (it.metric("reconcile_timeouts_total"), it.metric("reconcile_errors_total")) == (1, 1)


@pytest.mark.scenario("CT12")
@virtual_time
async def test_only_the_limit_counts_as_a_timeout(clock: VirtualClock) -> None:
    """Not a TimeoutError of the reconciler's own, nor the end of the controller; but a limit that it swallowed does."""

    async def act(request: Request) -> Result:
        if request.name == "own":
            raise TimeoutError
        if request.name == "swallows":
            try:
                await clock.sleep(1000)
            except asyncio.CancelledError:
                return Result.done("late")
        await asyncio.Event().wait()
        return Result.done()

    it = Controlled(clock, act, objects=[cm("own"), cm("swallows"), cm("hangs")], workers=3, reconcile_timeout_s=20)
    it.cache.start()
    running = asyncio.create_task(it.controller.run(it.stop))
    await clock.sleep(19)
    assert it.metric("reconcile_timeouts_total") == 0
    await clock.sleep(2)
    assert it.metric("reconcile_timeouts_total") == 2
    assert it.metric("reconcile_total", result="success") == 1
    await cancelled(running)
    assert it.metric("reconcile_timeouts_total") == 2
    await it.cache.stop()


@pytest.mark.scenario("CT9", "CT12")
@virtual_time
async def test_a_reconcile_that_cannot_be_cut_off_holds_its_own_request_only(clock: VirtualClock) -> None:
    """Another worker takes over until it ends after all; meanwhile its request is in no second hand."""
    release = asyncio.Event()
    busy: list[str] = []
    widest = 0

    async def act(request: Request) -> Result:
        nonlocal widest
        assert request.name not in busy
        busy.append(request.name)
        widest = max(widest, len(busy))
        await clock.sleep(1)
        while request.name == "deaf" and not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        busy.remove(request.name)
        return Result.requeue(9)

    with capture_logs() as logs:
        objects = [cm("deaf"), cm("good"), cm("fine")]
        async with controlled(clock, act, objects=objects, reconcile_timeout_s=20) as it:
            await clock.sleep(29.5)
            assert it.reconciler.times_of("good") == []
            it.controller.queue.add(Request("default", "deaf"))
            await clock.sleep(70)
            assert it.reconciler.times_of("good") == [30, 40, 50, 60, 70, 80, 90]
            assert it.reconciler.times_of("fine") == [31, 41, 51, 61, 71, 81, 91]
            assert (it.reconciler.times_of("deaf"), widest) == ([0], 2)
            release.set()
            await clock.sleep(100)
            assert len(it.controller._crew) == 1
            assert it.reconciler.times_of("deaf")[1] == pytest.approx(99.5, abs=1)
    assert [entry["name"] for entry in logs if "another worker takes over" in entry["event"]] == ["deaf"]
    assert it.metric("reconcile_timeouts_total") == 1


@pytest.mark.scenario("CT15")
@virtual_time
async def test_a_stop_waits_for_a_reconcile_that_cannot_be_cut_off(clock: VirtualClock) -> None:
    """run() does not return while anything of it may still write, its replaced workers included."""
    release = asyncio.Event()

    async def act(_: Request) -> Result:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return Result.done()

    it = Controlled(clock, act, objects=[cm("deaf")], reconcile_timeout_s=20)
    it.cache.start()
    with capture_logs():
        running = asyncio.create_task(it.controller.run(it.stop))
        await clock.sleep(60)
        it.stop.set()
        await clock.sleep(60)
        assert not running.done()
        release.set()
        await running
    assert (clock.monotonic(), it.controller.queue.processing) == (120, 0)
    await it.cache.stop()


@pytest.mark.scenario("CT12")
@virtual_time
async def test_a_limit_is_not_needed(clock: VirtualClock) -> None:
    """Without one, a reconcile may take as long as it takes."""

    async def act(_: Request) -> Result:
        await clock.sleep(5000)
        return Result.done()

    async with controlled(clock, act, objects=[cm("a")], reconcile_timeout_s=None) as it:
        await clock.sleep(6000)
    assert it.metric("reconcile_total", result="success") == 1


@pytest.mark.scenario("CT14")
@virtual_time
async def test_each_reconcile_logs_who_it_is(clock: VirtualClock) -> None:
    """Controller, namespace and name, and a reconcileID that no two reconciles share; also in what it logs itself."""
    seen: list[dict[str, str]] = []

    async def act(_: Request) -> Result:
        seen.append(dict(structlog.contextvars.get_contextvars()))
        return Result.requeue(1) if len(seen) < 4 else Result.done()

    async with controlled(clock, act, objects=[cm("a")]):
        await clock.sleep(60)
    assert [{key: one[key] for key in ("controller", "namespace", "name")} for one in seen] == [
        {"controller": "maps", "namespace": "default", "name": "a"}
    ] * 4
    assert len({one["reconcileID"] for one in seen}) == 4
    assert structlog.contextvars.get_contextvars() == {}


@pytest.mark.scenario("CT14")
@virtual_time
async def test_failures_are_logged_with_what_helps(clock: VirtualClock) -> None:
    """The traceback of a defect only; stale reads are no news."""
    outcomes: list[Exception] = [StaleCacheError("behind"), ApiError(500, "InternalError"), KeyError("x")]

    async def act(_: Request) -> Result:
        if outcomes:
            raise outcomes.pop(0)
        return Result.done()

    with capture_logs() as logs:
        async with controlled(clock, act, objects=[cm("a")]):
            await clock.sleep(1)
    failures = [entry for entry in logs if "failures" in entry]
    assert [(entry["log_level"], "exc_info" in entry) for entry in failures] == [
        ("debug", False),
        ("warning", False),
        ("error", True),
    ]


async def _cancels_its_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def _exits(_: VirtualClock) -> object:
    sys.exit(1)


async def _raises_a_cancellation(_: VirtualClock) -> object:
    raise asyncio.CancelledError


async def _cancels_its_task(_: VirtualClock) -> object:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    return Result.again()


async def _cancels_its_task_and_waits(clock: VirtualClock) -> object:
    await _cancels_its_task(clock)
    await clock.sleep(3)
    return Result.done()


async def _awaits_what_was_cancelled(clock: VirtualClock) -> object:
    inner = asyncio.create_task(clock.sleep(5))
    await cancelled(inner)
    await inner
    return Result.done()


async def _raises_a_group(_: VirtualClock) -> object:
    raise BaseExceptionGroup("both", [asyncio.CancelledError(), OSError()])


async def _returns_nothing(_: VirtualClock) -> object:
    return None


async def _returns_rubbish(_: VirtualClock) -> object:
    return {"requeue": True}


async def _returns_no_time(_: VirtualClock) -> object:
    return Result.requeue(float("nan"))


async def _hangs(_: VirtualClock) -> object:
    await asyncio.Event().wait()
    return Result.done()


async def _never_waits(_: VirtualClock) -> object:
    return Result.again()


@pytest.mark.scenario("CT1", "CT7", "CT8", "CT9")
@pytest.mark.parametrize(
    "misbehave",
    [
        _exits,
        _raises_a_cancellation,
        _cancels_its_task,
        _cancels_its_task_and_waits,
        _awaits_what_was_cancelled,
        _raises_a_group,
        _returns_nothing,
        _returns_rubbish,
        _returns_no_time,
        _hangs,
        _never_waits,
    ],
)
def test_a_bad_reconcile_harms_only_its_own_request(misbehave: Callable[[VirtualClock], Awaitable[object]]) -> None:
    """Whatever a reconciler does, the other requests are reconciled on time, and the bad one is tried again."""

    @virtual_time
    async def scenario(clock: VirtualClock) -> None:
        async def act(request: Request) -> object:
            return await misbehave(clock) if request.name == "bad" else Result.requeue(1)

        objects = [cm("bad"), cm("good"), cm("fine")]
        async with controlled(clock, act, objects=objects, workers=2, reconcile_timeout_s=20) as it:
            await clock.sleep(99.5)
            for name in ("good", "fine"):
                assert it.reconciler.times_of(name) == [float(second) for second in range(100)]
            assert len(it.reconciler.times_of("bad")) > 2
        assert it.metric("active_workers") == 0

    with capture_logs():
        scenario()
