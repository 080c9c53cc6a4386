"""Leader election over a Lease: of several processes, one at most acts.

Safety does not rest on synchronised clocks: whoever wants the lease waits for the holder's own duration to pass since
it *saw* the lease change for the last time, on its own monotonic clock (LE3). A leader that could not renew for
``renew_deadline_s``, which is shorter than the lease, stops by itself before anybody else may take over (LE5, LE12).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any, Final, TypeVar

from attrs import define, field

from kaito_controller.kube.core import LEASES
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.backoff import Backoff
from kaito_controller.machinery.cancellation import is_asked_to_end
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.election import lease as leases
from kaito_controller.machinery.election.leadership import JITTER, Callbacks, Durations, LeadershipLostError
from kaito_controller.machinery.errors import (
    ApiConnectionError,
    ApiError,
    ApiTimeoutError,
    is_already_exists,
    is_conflict,
)
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import Metrics

RELEASE_PAUSE_S: Final = 0.01
"""Before a release is tried again that met a conflict; twice as long after each, up to the retry period."""

log = logger(__name__)
T = TypeVar("T")


def _always() -> bool:
    return True


def _ignore(_: str) -> None:
    return None


@define(kw_only=True)
class LeaderElector:
    """One contender for the lease ``namespace/name``; ``identity`` must differ between contenders.

    `run` does everything; `acquire`, `hold` and `release` are its parts. A leader renews only while ``may_renew`` says
    so: a process whose main loop is stuck has to lose the lease.
    """

    client: Client
    clock: Clock
    rng: Random
    metrics: Metrics
    namespace: str
    name: str
    identity: str
    durations: Durations = field(factory=Durations)
    may_renew: Callable[[], bool] = _always
    _on_new_leader: Callable[[str], None] = field(init=False, default=_ignore)
    _claim: leases.Claim = field(init=False)
    _observed: Object | None = field(init=False, default=None)
    _observed_at: float = field(init=False, default=0.0)
    _reported: str = field(init=False, default="")
    _leading: bool = field(init=False, default=False)
    _has_written: bool = field(init=False, default=False)
    _renewed_at: float = field(init=False, default=0.0)

    def __attrs_post_init__(self) -> None:
        if not self.identity:
            raise ValueError("identity must not be empty: contenders are told apart by it")
        if not self.name or not self.namespace:
            raise ValueError(f"name and namespace of the lease must be given, found {self.namespace!r}/{self.name!r}")
        lease_s = self.durations.lease_s
        self._claim = leases.Claim(namespace=self.namespace, name=self.name, identity=self.identity, lease_s=lease_s)
        self.metrics.leading.labels(self.name).set(0)
        self.metrics.election_slow_path.labels(self.name)

    @property
    def is_leader(self) -> bool:
        """Whether this process holds the lease, as far as it knows."""
        return self._leading

    @property
    def leader(self) -> str:
        """Who held the lease when it was last seen; empty for nobody."""
        return leases.holder(self._observed)

    @property
    def leads_until(self) -> float:
        """The instant of the monotonic clock after which this process must not act unless it renews before."""
        return self._renewed_at + self.durations.renew_deadline_s

    def check(self, tolerance_s: float = 20.0) -> str:
        """A health check: what is wrong when a leader has not renewed for longer than the lease and the tolerance."""
        age_s = self.clock.monotonic() - self._renewed_at
        if self._leading and age_s > self.durations.lease_s + tolerance_s:
            return f"lease {self.namespace}/{self.name} not renewed for {age_s:.0f} s"
        return ""

    async def run(self, callbacks: Callbacks) -> None:
        """Contend, have the guarded work done while leading, and give the lease up once cancelled.

        Raises:
            LeadershipLostError: it led and could not renew in time; nothing may be done any more.
            Exception: what the guarded work failed with; the lease was given up.
        """
        self._on_new_leader = callbacks.on_new_leader
        try:
            await self.acquire()
            await self._guard(callbacks.on_started_leading)
        except BaseException:
            await self.release()
            raise
        finally:
            callbacks.on_stopped_leading()

    async def acquire(self) -> None:
        """Return once this process leads; tries at once, then every retry period with jitter (LE2)."""
        log.info("contending for leadership", lease=self.name, identity=self.identity)
        # An answer that took too long tells of a leadership that has ended before it was known.
        while not (await self._try() and self.clock.monotonic() < self.leads_until):
            await self.clock.sleep(self.durations.retry_s * (1 + JITTER * self.rng.random()))
        self._lead(leading=True)

    async def hold(self) -> None:
        """Renew at once, then every retry period; returns never.

        Raises:
            LeadershipLostError: no renewal for the renew deadline, counted from the last one that was *sent*: others
                may have seen it from then on. A request that hangs is cut off by it (LE5). Or renewing failed in a way
                that nobody expected.
        """
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout_at(now() + self.leads_until - self.clock.monotonic()) as deadline:
                while True:
                    if not await self._try():
                        self._give_up_when_taken()
                    deadline.reschedule(now() + self.leads_until - self.clock.monotonic())
                    await self.clock.sleep(self.durations.retry_s)
        except TimeoutError:
            raise self._lost(f"could not be renewed for {self.durations.renew_deadline_s:g} s") from None
        except LeadershipLostError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            # The work goes on at this moment, in another thread perhaps: the lease must not be given up under it.
            if isinstance(error, asyncio.CancelledError) and is_asked_to_end():
                raise
            raise self._lost(f"cannot be renewed any more: {error!r}") from error

    async def release(self) -> None:
        """Give the lease up, if it is ours, so that the next one need not wait; only after all work has ended (LE8).

        A lease that an unanswered write of ours may have won is looked at too, and given up if it was.
        """
        if not self._leading and not self._has_written:
            return
        self._lead(leading=False)
        self._has_written = False
        pauses = Backoff(clock=self.clock, rng=self.rng, initial_s=RELEASE_PAUSE_S, cap_s=self.durations.retry_s)
        try:
            async with asyncio.timeout(self.durations.renew_deadline_s):
                while not await self._try_release():
                    await self.clock.sleep(pauses.next_s())
        except (ApiError, ApiConnectionError, TimeoutError) as error:
            log.warning("lease not released", lease=self.name, error=str(error) or "no answer in time")

    async def _try_release(self) -> bool:
        """Release once; False when somebody wrote in between, such as a renewal of our own that was cut off."""
        lease = await self._within(self.client.get(LEASES, self.name, self.namespace))
        if leases.holder(lease) != self.identity:
            return True
        try:
            given_up = leases.released(lease, self.clock.now())
            self._observe(await self._within(self.client.update(LEASES, given_up)))
        except ApiError as error:
            if not is_conflict(error):
                raise
            return False
        return True

    async def _guard(self, lead: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do the work while the lease is held; raises when either ends, and leaves neither behind."""
        work = asyncio.create_task(lead(), name="guarded work")
        holding = asyncio.create_task(self.hold(), name="hold the lease")
        try:
            await asyncio.wait({work, holding}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
                await asyncio.wait({holding})
            holding.result()
        finally:
            work.cancel()
            try:
                # Renewed until the work has ended: nobody else may begin before that.
                await asyncio.wait({work, holding}, return_when=asyncio.FIRST_COMPLETED)
                # Once leadership is lost, only the margin is left until another one may begin.
                await asyncio.wait({work}, timeout=self.durations.lease_s - self.durations.renew_deadline_s)
            finally:
                # Whoever is cancelled once more while it waits must not renew for ever.
                holding.cancel()
                await asyncio.wait({holding})
            if work.done() and not work.cancelled() and (error := work.exception()):
                log.error("the guarded work has failed", lease=self.name, error=str(error))

    async def _try(self) -> bool:
        """Take or renew the lease; whether it is ours now. Failures of the server count as no."""
        if self._leading and not self.may_renew():
            return False
        try:
            return await self._renew_or_take()
        except (ApiError, ApiConnectionError) as error:
            if not (is_conflict(error) or is_already_exists(error)):
                log.warning("lease not written", lease=self.name, error=str(error))
            return False

    async def _renew_or_take(self) -> bool:
        if self._leading and self._observed is not None:
            try:
                # Our own last write is the current version unless somebody interfered (LE4).
                await self._write(self._observed)
            except (ApiError, ApiConnectionError) as error:
                log.info("lease is read again", lease=self.name, error=str(error))
                self.metrics.election_slow_path.labels(self.name).inc()
            else:
                return True
        lease = await self._read()
        if lease is not None:
            self._observe(lease)
        # A lease that was deleted under its holder does not end the time that the holder was given.
        if self.leader not in {"", self.identity} and not self._has_expired():
            return False
        await self._write(lease)
        return True

    async def _read(self) -> Object | None:
        return await self._within(self.client.find(LEASES, self.name, self.namespace))

    async def _write(self, lease: Object | None) -> None:
        """Make the lease ours, given what it is now. From the moment of sending others may see it, so that counts."""
        sent_at = self.clock.monotonic()
        self._has_written = True
        body = self._claim.of(lease, self.clock.now())
        send = self.client.create if lease is None else self.client.update
        answer = await self._within(send(LEASES, body))
        if leases.holder(answer) != self.identity:
            raise ApiError(200, "InvalidAnswer", f"the lease that was written is held by {leases.holder(answer)!r}")
        self._observe(answer)
        self._renewed_at = sent_at

    async def _within(self, request: Awaitable[T]) -> T:
        """The lease that a request answers with, or None. What else is answered, by a proxy perhaps, is an ApiError."""
        try:
            async with asyncio.timeout(self.durations.request_s):
                answer = await request
        except ApiConnectionError:
            raise
        except TimeoutError as error:
            raise ApiTimeoutError(f"no answer within {self.durations.request_s:g} s") from error
        if answer is not None and not self._claim.is_for(answer):
            raise ApiError(200, "InvalidAnswer", f"the answer is not the lease {self.namespace}/{self.name}")
        return answer

    def _has_expired(self) -> bool:
        """Whether the holder's own duration has passed since we saw the record change; its clock plays no part."""
        given_s = leases.duration_s(self._observed, self.durations.lease_s)
        return self.clock.monotonic() > self._observed_at + given_s

    def _observe(self, lease: Object) -> None:
        if not leases.is_same_record(self._observed, lease):
            self._observed_at = self.clock.monotonic()
        self._observed = lease
        if self.leader != self._reported:
            self._reported = self.leader
            self._on_new_leader(self.leader)

    def _give_up_when_taken(self) -> None:
        if self.leader != self.identity:
            raise self._lost(f"is held by {self.leader or 'nobody'} now")

    def _lost(self, why: str) -> LeadershipLostError:
        self._lead(leading=False)
        # What we wrote is past: nothing of it may be given up while the work may still be ending.
        self._has_written = False
        return LeadershipLostError(f"lease {self.namespace}/{self.name} {why}")

    def _lead(self, *, leading: bool) -> None:
        if leading != self._leading:
            log.info("leadership changed", lease=self.name, identity=self.identity, leading=leading)
        self._leading = leading
        self.metrics.leading.labels(self.name).set(1 if leading else 0)
