"""Leader election over a Lease: of several processes, one at most acts.

Safety does not rest on synchronised clocks: whoever wants the lease waits for the holder's own duration to pass since
it *saw* the lease change for the last time, on its own monotonic clock (LE3). A leader that could not renew for
``renew_deadline_s``, which is shorter than the lease, stops by itself before anybody else may take over (LE5, LE12).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

from attrs import define, field, frozen

from kaito_controller.kube.core import LEASES
from kaito_controller.kube.metadata import Object, resource_version
from kaito_controller.machinery.client import Client
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiConnectionError, ApiError, is_already_exists, is_conflict, is_not_found
from kaito_controller.machinery.log import logger
from kaito_controller.machinery.metrics import Metrics

# client-go's jitter (leaderelection.JitterFactor): a wait is drawn from [retry, 2.2 * retry).
JITTER: Final = 1.2


class LeadershipLostError(Exception):
    """The process led and may not go on: it has to end, and a fresh one may compete again (LE9)."""


@frozen(kw_only=True)
class Durations:
    """How long a lease lasts, how long a leader tries to renew, how often anybody tries; client-go's defaults.

    Raises ValueError when the leader would give up later than others may take over, or try too rarely (LE1).
    """

    lease_s: float = 15.0
    renew_deadline_s: float = 10.0
    retry_s: float = 2.0

    def __attrs_post_init__(self) -> None:
        if self.lease_s <= self.renew_deadline_s:
            raise ValueError(
                f"lease_s must be above renew_deadline_s, found {self.lease_s} and {self.renew_deadline_s}"
            )
        if self.renew_deadline_s <= JITTER * self.retry_s:
            raise ValueError(
                f"renew_deadline_s must exceed {JITTER} * retry_s, found {self.renew_deadline_s} and {self.retry_s}"
            )
        if self.retry_s <= 0:
            raise ValueError(f"retry_s must be above 0, found {self.retry_s}")


def _always() -> bool:
    return True


@define(kw_only=True)
class LeaderElector:
    """One contender for the lease ``namespace/name``; ``identity`` must differ between contenders.

    A leader renews only while ``may_renew`` says so: a process whose main loop is stuck has to lose the lease.
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
    _observed: Object | None = field(init=False, default=None)
    _observed_at: float = field(init=False, default=0.0)
    _leading: bool = field(init=False, default=False)
    _renewed_at: float = field(init=False, default=0.0)

    def __attrs_post_init__(self) -> None:
        if not self.identity:
            raise ValueError("identity must not be empty: contenders are told apart by it")
        self.metrics.leading.labels(self.name).set(0)

    @property
    def is_leader(self) -> bool:
        """Whether this process holds the lease, as far as it knows."""
        return self._leading

    def check(self, tolerance_s: float = 20.0) -> str:
        """A health check: what is wrong when a leader has not renewed for longer than the lease and the tolerance."""
        age_s = self.clock.monotonic() - self._renewed_at
        if self._leading and age_s > self.durations.lease_s + tolerance_s:
            return f"lease {self.namespace}/{self.name} not renewed for {age_s:.0f} s"
        return ""

    async def acquire(self) -> None:
        """Return once this process leads; tries at once, then every retry period with jitter (LE2)."""
        while not await self._try():
            await self.clock.sleep(self.durations.retry_s * (1 + JITTER * self.rng.random()))
        self._lead(leading=True)

    async def hold(self) -> None:
        """Renew until that fails for the whole renew deadline; then raise LeadershipLostError. Never returns."""
        while True:
            await self.clock.sleep(self.durations.retry_s)
            left_s = self._renewed_at + self.durations.renew_deadline_s - self.clock.monotonic()
            try:
                async with asyncio.timeout(max(left_s, 0.0)):
                    while not await self._try():
                        self._give_up_when_taken()
                        await self.clock.sleep(self.durations.retry_s)
            except TimeoutError:
                self._lead(leading=False)
                raise LeadershipLostError(
                    f"lease {self.namespace}/{self.name} could not be renewed for {self.durations.renew_deadline_s:g} s"
                ) from None

    async def release(self) -> None:
        """Give the lease up, if it is ours, so that the next one need not wait; only after all work has ended (LE8)."""
        if not self._leading:
            return
        self._lead(leading=False)
        try:
            async with asyncio.timeout(self.durations.renew_deadline_s):
                lease = await self.client.get(LEASES, self.name, self.namespace)
                if _holder(lease) == self.identity:
                    spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._now()}
                    await self.client.update(LEASES, {**lease, "spec": spec})
        except (ApiError, ApiConnectionError, TimeoutError) as error:
            logger(__name__).warning("lease not released", lease=self.name, error=str(error))

    async def _try(self) -> bool:
        """Take or renew the lease; whether it is ours now. Failures of the server count as no."""
        if self._leading and not self.may_renew():
            return False
        # Others may see the write from the moment it is sent, so the deadline counts from there, not from the answer.
        sent_at = self.clock.monotonic()
        try:
            held = await self._create_or_update()
        except (ApiError, ApiConnectionError) as error:
            if not (is_conflict(error) or is_already_exists(error)):
                logger(__name__).warning("lease not written", lease=self.name, error=str(error))
            self._observed = None if is_conflict(error) else self._observed
            return False
        if held:
            self._renewed_at = sent_at
        return held

    async def _create_or_update(self) -> bool:
        if self._leading and self._observed is not None:
            # The fast path of LE4: our own last write is the current version unless somebody interfered.
            self._remember(await self.client.update(LEASES, self._renewed(self._observed)))
            return True
        try:
            lease = await self.client.get(LEASES, self.name, self.namespace)
        except ApiError as error:
            if not is_not_found(error):
                raise
            self._remember(await self.client.create(LEASES, self._new()))
            return True
        self._remember(lease)
        if _holder(lease) not in {"", self.identity} and not self._expired(lease):
            return False
        self._remember(await self.client.update(LEASES, self._renewed(lease)))
        return True

    def _expired(self, lease: Object) -> bool:
        duration_s = float(lease["spec"].get("leaseDurationSeconds") or self.durations.lease_s)
        return self.clock.monotonic() > self._observed_at + duration_s

    def _remember(self, lease: Object) -> None:
        if self._observed is None or lease.get("spec") != self._observed.get("spec"):
            self._observed_at = self.clock.monotonic()
        self._observed = lease

    def _give_up_when_taken(self) -> None:
        holder = _holder(self._observed or {})
        if self._leading and self._observed is not None and holder != self.identity:
            self._lead(leading=False)
            raise LeadershipLostError(f"lease {self.namespace}/{self.name} is held by {holder or 'nobody'} now")

    def _new(self) -> Object:
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(self.durations.lease_s),
            "acquireTime": self._now(),
            "renewTime": self._now(),
            "leaseTransitions": 0,
        }
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": spec,
        }

    def _renewed(self, lease: Object) -> Object:
        """The lease with us as its holder; taking it over sets acquireTime and counts a transition (LE6)."""
        old: dict[str, Any] = lease.get("spec") or {}
        spec = {**old, **self._new()["spec"], "leaseTransitions": int(old.get("leaseTransitions") or 0)}
        if old.get("holderIdentity") == self.identity:
            spec["acquireTime"] = old.get("acquireTime") or spec["acquireTime"]
        else:
            spec["leaseTransitions"] += 1
        metadata = {**lease["metadata"], "resourceVersion": resource_version(lease)}
        return {**lease, "metadata": metadata, "spec": spec}

    def _now(self) -> str:
        """MicroTime as the API server writes it."""
        now: datetime = self.clock.now().astimezone(UTC)
        return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _lead(self, *, leading: bool) -> None:
        if leading != self._leading:
            logger(__name__).info("leadership changed", lease=self.name, identity=self.identity, leading=leading)
        self._leading = leading
        self.metrics.leading.labels(self.name).set(1 if leading else 0)


def _holder(lease: Object) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")
