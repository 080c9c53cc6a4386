"""What pods say of themselves, read beside the reconcile: which pods are to be asked, and how often. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from attrs import frozen

from inference_server import contract
from kaito_controller.controllers.workspace import adapter_status, job_pods, weights_status
from kaito_controller.controllers.workspace.serving import ServingPlan
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.tuning import TuningPlan
from kaito_controller.controllers.workspace.verdict import Blocked
from kaito_controller.kube import metadata
from kaito_controller.kube.metadata import Object
from kaito_controller.machinery.reconcile.request import Request
from kaito_controller.workloads.adapters import specs

MOVING_S: Final = 2.0
"""While something moves, a person waits for it."""
SETTLED_S: Final = 30.0
"""An engine that was restarted, a tag that was moved: rare, and nobody asked for it just now."""
FETCHING_S: Final = 5.0
"""A download takes minutes, and each report of it is another, which is written down."""
TRAINING_S: Final = 5.0
"""A training tells its progress for hours; `tuning_progress` writes it down less often than that."""


@frozen(kw_only=True)
class Target:
    """One pod that reports. `uid` tells a pod from the one before it that had its name."""

    namespace: str
    name: str
    uid: str
    port: int


class Reports(Protocol):
    """Where reports are read; nothing of it waits."""

    def latest(self, who: Request) -> Mapping[str, Object]:
        """What the followed pods of `who` said last, by the pod's name."""
        ...

    def follow(self, who: Request, targets: Sequence[Target], period_s: float) -> None:
        """Ask these pods and no others of `who` from now on; `who` is woken when an answer differs from the last."""
        ...

    def forget(self, who: Request) -> None:
        """Ask none of its pods any more."""
        ...


class _NoReports:
    """Nobody is asked."""

    def latest(self, who: Request) -> Mapping[str, Object]:  # noqa: ARG002 (the protocol's)
        """Nothing."""
        return {}

    def follow(self, who: Request, targets: Sequence[Target], period_s: float) -> None:
        """As if nobody had asked."""

    def forget(self, who: Request) -> None:
        """There is nothing to forget."""


NO_REPORTS: Final[Reports] = _NoReports()


def following(plan: ServingPlan | TuningPlan | Blocked, snapshot: Snapshot) -> tuple[tuple[Target, ...], float]:
    """The pods to ask, and how often in seconds.

    Every agent while its pod fetches weights; where adapters are wanted, the one beside the engine that serves; of a
    tuning, the pod that trains.
    """
    if isinstance(plan, TuningPlan):
        mine = job_pods.of_job(snapshot, plan.made) if plan.made is not None else ()
        return tuple(_target(pod, contract.TUNE_PORT) for pod in mine[-1:] if _runs(pod)), TRAINING_S
    if not isinstance(plan, ServingPlan):
        return (), SETTLED_S
    brought = weights_status.is_settled(plan, snapshot)
    wants_adapters = plan.room is not None and bool(specs(plan.workspace))
    leader = adapter_status.leader(plan)
    targets = tuple(
        _target(pod, contract.AGENT_PORT)
        for pod in snapshot.pods_of(snapshot.stateful_set)
        if _has_agent(pod) and (not brought or (wants_adapters and metadata.name(pod) == leader))
    )
    loaded = not wants_adapters or adapter_status.is_settled(adapter_status.adapters(plan, snapshot))
    return targets, FETCHING_S if not brought else SETTLED_S if loaded else MOVING_S


def _target(pod: Object, port: int) -> Target:
    return Target(
        namespace=metadata.namespace(pod),
        name=metadata.name(pod),
        uid=metadata.uid(pod),
        port=port,
    )


def _has_agent(pod: Object) -> bool:
    """Whether its agent runs, which it does before the pod is Running: the engine's image may still be on its way."""
    statuses = (pod.get("status") or {}).get("initContainerStatuses") or ()
    agents = (one for one in statuses if one.get("name") == contract.AGENT_CONTAINER)
    runs = any("running" in (one.get("state") or {}) for one in agents)
    return runs and not metadata.is_deleting(pod)


def _runs(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") == "Running" and not metadata.is_deleting(pod)
