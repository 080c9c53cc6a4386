"""First step: ask the cloud for the claim's machine.

Where this departs from Karpenter: on InsufficientCapacity and NodeClassNotReady Karpenter deletes the claim, so that
its owner makes another; an owner that wants exactly this machine makes it again at once, and the two loop hot for
ever. Here the claim stays, Launched is False with the reason and a remedy, and the cloud is asked again after a pause
that doubles. Nobody has to delete anything: when capacity comes, the same claim becomes a node. Other failures leave
Launched Unknown, as Karpenter does, and end with the launch timeout (see liveness).
"""

from __future__ import annotations

from attrs import frozen

from kaito_controller.api.conditions import ConditionType
from kaito_controller.api.nodeclaim import NodeClaim
from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.nodeclaim.conditions import fails, holds, unknown
from kaito_controller.controllers.nodeclaim.lifecycle.backoff import Backoff
from kaito_controller.controllers.nodeclaim.timing import Timing
from kaito_controller.kube.conditions import Condition
from kaito_controller.machinery.clock import Clock
from kaito_controller.providers.errors import InsufficientCapacity, NodeClassNotReady, ProviderError
from kaito_controller.providers.protocol import CloudProvider, Instance


@frozen(kw_only=True)
class Launched:
    """How a try went: the condition it leads to (None: no try was due), the instance, the pause before the next."""

    condition: Condition | None = None
    instance: Instance | None = None
    retry_after_s: float | None = None
    error: BaseException | None = None


class Launch:
    """Launches claims; remembers only when each may be tried again."""

    def __init__(self, provider: CloudProvider, clock: Clock, timing: Timing) -> None:
        self._provider = provider
        self._clock = clock
        self._timing = timing
        self._backoff = Backoff()
        self._waiting: set[str] = set()

    @property
    def waiting(self) -> frozenset[str]:
        """Names of the claims that the cloud had no capacity for."""
        return frozenset(self._waiting)

    async def launch(self, claim: NodeClaim) -> Launched:
        """Ask the cloud, unless the pause after the last refusal still lasts."""
        uid = claim.metadata.uid
        remaining = self._backoff.remaining_s(uid, self._clock.monotonic())
        if remaining > 0:
            return Launched(retry_after_s=remaining)
        try:
            instance = await self._provider.create(claim)
        except Exception as error:  # noqa: BLE001 - a cloud's client raises whatever it likes; all of it means no machine
            return self._refused(claim, error)
        self.forget(claim.metadata.name, uid)
        return Launched(condition=holds(ConditionType.LAUNCHED), instance=instance)

    def capacity_freed(self) -> None:
        """A machine is gone: whoever waits for capacity may ask now."""
        self._backoff.release()

    def forget(self, name: str, uid: str) -> None:
        """Drop what is remembered of a claim that was launched or is gone."""
        self._backoff.forget(uid)
        self._waiting.discard(name)

    def _refused(self, claim: NodeClaim, error: Exception) -> Launched:
        lacks = isinstance(error, InsufficientCapacity | NodeClassNotReady)
        policy = self._timing.capacity_backoff if lacks else self._timing.launch_backoff
        pause = self._backoff.failed(claim.metadata.uid, policy, self._clock.monotonic())
        if isinstance(error, InsufficientCapacity):
            self._waiting.add(claim.metadata.name)
        return Launched(condition=refusal(error), retry_after_s=pause, error=error)


def refusal(error: BaseException) -> Condition:
    """What Launched says about an error of the cloud."""
    if isinstance(error, InsufficientCapacity | NodeClassNotReady):
        return fails(ConditionType.LAUNCHED, error.reason, str(error))
    if isinstance(error, ProviderError):
        return unknown(ConditionType.LAUNCHED, error.reason, str(error))
    return unknown(ConditionType.LAUNCHED, Reason.LAUNCH_FAILED, f"{type(error).__name__}: {error}")
