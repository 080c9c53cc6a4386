"""Second step: as many NodeClaims as the plan needs, no more. Owns NodeClaimReady."""

from __future__ import annotations

from attrs import evolve, frozen

from kaito_controller.api.nodeclaim import NODE_CLAIMS
from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.workspace import claims, readiness
from kaito_controller.controllers.workspace.plan import Plan
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.verdict import Blocked, Notice, StepResult
from kaito_controller.controllers.workspace.writer import Writer
from kaito_controller.kube import metadata
from kaito_controller.machinery.cache.cache import Cache
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiError, is_forbidden, is_invalid, is_not_found

STALE_RETRY_S = 0.1
FIRST_REPLACEMENT_S = 1.0
SLOWEST_REPLACEMENT_S = 120.0


@frozen
class _Attempt:
    """How often claims were made for a Workspace without it becoming ready, and when last."""

    number: int
    at_s: float


class NodeClaimsStep:
    """Creates, replaces and trims NodeClaims.

    A claim that goes away before it was ready (no capacity, a time-out) is replaced with growing delays, so that a
    cloud that is sold out is asked every two minutes and not a hundred times a second.
    """

    name = "node_claims"

    def __init__(self, writer: Writer, cache: Cache, clock: Clock) -> None:
        self._writer = writer
        self._cache = cache
        self._clock = clock
        self._attempts: dict[str, _Attempt] = {}

    async def run(self, plan: Plan, snapshot: Snapshot) -> StepResult:
        """Compare what is there with what is wanted, and write the difference."""
        if not plan.provisions:
            return StepResult()
        key = plan.workspace.metadata.key
        changes = self._changes(plan, snapshot)
        if readiness.node_claims(plan, snapshot).holds:
            self.forget(key)
        if not plan.wants_nodes:
            changes = evolve(changes, create=())
        if any(self._cache.is_stale(NODE_CLAIMS, plan.claim_name(index)) for index in changes.create):
            return StepResult(requeue_after_s=STALE_RETRY_S, why="the cache does not show our NodeClaims yet")
        notices: list[Notice] = []
        for claim in changes.delete:
            await self._writer.delete(NODE_CLAIMS, claim)
            note = f"Deleted NodeClaim {metadata.name(claim)}, which the plan does not need"
            notices.append(Notice(reason=Reason.NODE_CLAIM_DELETED, note=note, action="Delete"))
        delay_s = self._delay_s(key) if changes.create else 0.0
        if delay_s > 0:
            return StepResult(notices=tuple(notices), requeue_after_s=delay_s, why="a NodeClaim went away")
        return await self._create(plan, changes.create, notices)

    def forget(self, key: str) -> None:
        """Drop what is remembered of a Workspace: it is gone, or has what it needs."""
        self._attempts.pop(key, None)

    async def _create(self, plan: Plan, indexes: tuple[int, ...], notices: list[Notice]) -> StepResult:
        key = plan.workspace.metadata.key
        if indexes:
            before = self._attempts.get(key)
            self._attempts[key] = _Attempt(before.number + 1 if before else 1, self._clock.monotonic())
        for index in indexes:
            try:
                await self._writer.apply(NODE_CLAIMS, plan.claim(index))
            except ApiError as error:
                return _failed(plan.claim_name(index), error, notices)
            note = f"Created NodeClaim {plan.claim_name(index)} for {plan.sku.name} ({plan.sku.gpu_count} GPUs)"
            notices.append(Notice(reason=Reason.NODE_CLAIM_CREATED, note=note, action="Create"))
        return StepResult(notices=tuple(notices))

    def _changes(self, plan: Plan, snapshot: Snapshot) -> claims.Changes:
        in_use = frozenset(str((pod.get("spec") or {}).get("nodeName") or "") for pod in snapshot.pods) - {""}
        return claims.changes(
            snapshot.node_claims,
            wanted=plan.node_count,
            instance_type=plan.sku.name,
            name_of=plan.claim_name,
            nodes_in_use=in_use,
        )

    def _delay_s(self, key: str) -> float:
        before = self._attempts.get(key)
        if before is None:
            return 0.0
        pause_s = min(SLOWEST_REPLACEMENT_S, FIRST_REPLACEMENT_S * 2.0 ** (before.number - 1))
        return max(0.0, before.at_s + pause_s - self._clock.monotonic())


def _failed(name: str, error: ApiError, notices: list[Notice]) -> StepResult:
    """Say why, and try again: a missing CRD or permission may come."""
    if not (is_not_found(error) or is_invalid(error) or is_forbidden(error)):
        return StepResult(notices=tuple(notices), error=error)
    hint = " Is the CRD nodeclaims.karpenter.sh installed?" if is_not_found(error) else ""
    message = f"NodeClaim {name} cannot be created: {error}.{hint}"
    refusal = Blocked(reason=Reason.NODE_CLAIM_CREATION_FAILED, message=message)
    return StepResult(notices=tuple(notices), refusal=refusal, error=error)
