"""Which pods must leave a node, in which order, and which of them now. Pure: pods in, a plan out.

Order of Karpenter's drain: first what nobody calls critical, then what is; DaemonSet pods after the others of their
kind, because they serve them. A group is evicted only when the one before has gone. Pods that tolerate the taint of
disruption stay (they chose to), mirror pods belong to the kubelet, finished pods hold nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import IntEnum

from attrs import frozen

from kaito_controller.api import labels as keys
from kaito_controller.controllers.nodeclaim import taints
from kaito_controller.kube import metadata
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.timestamps import parse_timestamp

CRITICAL_CLASSES = frozenset({"system-cluster-critical", "system-node-critical"})
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
DEFAULT_GRACE_S = 30
DISRUPTED_TAINT = {"key": keys.TAINT_DISRUPTED, "effect": "NoSchedule"}


class Group(IntEnum):
    """The order in which pods leave."""

    ORDINARY = 0
    ORDINARY_DAEMON = 1
    CRITICAL = 2
    CRITICAL_DAEMON = 3


@frozen(kw_only=True)
class Drain:
    """What a drain does next.

    ``evict`` is asked through the Eviction API, which honours disruption budgets; ``delete`` is past the point where
    the node's deadline leaves just the pod's own grace, so budgets no longer count. ``waiting`` is every pod that
    still holds the node, ``blocked`` those among it that nobody evicts because they ask not to be disrupted.
    """

    evict: tuple[Object, ...] = ()
    delete: tuple[Object, ...] = ()
    waiting: tuple[Object, ...] = ()
    blocked: tuple[Object, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether nothing holds the node any more."""
        return not self.waiting


def plan_drain(pods: Iterable[Object], *, now: datetime, deadline: datetime | None, stuck_s: float) -> Drain:
    """Plan the next step for the pods of one node. ``deadline`` is when the node goes whatever happens, if ever."""
    waiting = tuple(pod for pod in pods if holds_node(pod, now=now, stuck_s=stuck_s))
    if deadline is not None and now >= deadline:
        return Drain()
    overdue = tuple(pod for pod in waiting if _is_overdue(pod, now, deadline))
    asked = tuple(pod for pod in waiting if not metadata.is_deleting(pod) and pod not in overdue)
    blocked = tuple(pod for pod in asked if _asks_not_to_be_disrupted(pod))
    first = min((group_of(pod) for pod in waiting if pod not in blocked), default=None)
    evict = tuple(pod for pod in asked if pod not in blocked and group_of(pod) == first)
    return Drain(evict=evict, delete=overdue, waiting=waiting, blocked=blocked)


def group_of(pod: Object) -> Group:
    """The group in which a pod leaves."""
    critical = (pod.get("spec") or {}).get("priorityClassName") in CRITICAL_CLASSES
    daemon = any(owner.get("kind") == "DaemonSet" for owner in metadata.owner_references(pod))
    return Group(2 * critical + daemon)


def holds_node(pod: Object, *, now: datetime, stuck_s: float) -> bool:
    """Whether the node must wait for this pod."""
    if (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
        return False
    if MIRROR_ANNOTATION in metadata.annotations(pod):
        return False
    if taints.tolerates((pod.get("spec") or {}).get("tolerations") or (), DISRUPTED_TAINT):
        return False
    deleted = metadata.deletion_timestamp(pod)
    return deleted is None or now < parse_timestamp(deleted) + timedelta(seconds=stuck_s)


def describe(waiting: Sequence[Object], limit: int = 5) -> str:
    """Name the pods that are waited for, the first few by name."""
    named = ", ".join(metadata.key(pod) for pod in waiting[:limit])
    more = f" and {len(waiting) - limit} more" if len(waiting) > limit else ""
    return f"{len(waiting)} pod(s) to leave: {named}{more}"


def _is_overdue(pod: Object, now: datetime, deadline: datetime | None) -> bool:
    """Whether waiting longer would cut the pod's own grace short; one already leaving in time is left alone."""
    if deadline is None:
        return False
    deleted = metadata.deletion_timestamp(pod)
    if deleted is not None and parse_timestamp(deleted) <= deadline:
        return False
    grace = (pod.get("spec") or {}).get("terminationGracePeriodSeconds", DEFAULT_GRACE_S)
    return now >= deadline - timedelta(seconds=int(grace))


def _asks_not_to_be_disrupted(pod: Object) -> bool:
    return metadata.annotations(pod).get(keys.DO_NOT_DISRUPT) == "true"
