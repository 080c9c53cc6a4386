"""The form that built-in objects must have for us to read them: the fields that anybody here looks at, all optional.

The API server sees to it for the version that it serves. A newer one, another server or a fault in between may not, so
what is read as decoded JSON is held against its shape first (see `machinery.cache.typed`).
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from kaito_controller.kube.object_meta import ObjectMeta


@frozen(kw_only=True)
class ConditionShape:
    """A condition of any kind."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


@frozen(kw_only=True)
class TaintShape:
    """A mark on a Node."""

    key: str = ""
    value: str = ""
    effect: str = ""


@frozen(kw_only=True)
class NodeSpecShape:
    """What is asked of a Node."""

    provider_id: str = ""
    unschedulable: bool = False
    taints: tuple[TaintShape, ...] = ()


@frozen(kw_only=True)
class NodeStatusShape:
    """What a kubelet says of its Node."""

    conditions: tuple[ConditionShape, ...] = ()
    capacity: Mapping[str, str | int] = field(factory=dict)
    allocatable: Mapping[str, str | int] = field(factory=dict)


@frozen(kw_only=True)
class NodeShape:
    """A Node."""

    metadata: ObjectMeta = field(factory=ObjectMeta)
    spec: NodeSpecShape = field(factory=NodeSpecShape)
    status: NodeStatusShape = field(factory=NodeStatusShape)


@frozen(kw_only=True)
class WaitingShape:
    """Why a container does not run yet."""

    reason: str = ""
    message: str = ""


@frozen(kw_only=True)
class TerminatedShape:
    """How a container ended."""

    reason: str = ""
    message: str = ""
    exit_code: int = 0


@frozen(kw_only=True)
class StateShape:
    """What a container is at."""

    waiting: WaitingShape | None = None
    terminated: TerminatedShape | None = None


@frozen(kw_only=True)
class ContainerStatusShape:
    """What a kubelet says of a container."""

    name: str = ""
    state: StateShape = field(factory=StateShape)
    last_state: StateShape = field(factory=StateShape)


@frozen(kw_only=True)
class PodSpecShape:
    """What is asked of a Pod."""

    node_name: str = ""


@frozen(kw_only=True)
class PodStatusShape:
    """What a kubelet says of a Pod."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: tuple[ConditionShape, ...] = ()
    init_container_statuses: tuple[ContainerStatusShape, ...] = ()
    container_statuses: tuple[ContainerStatusShape, ...] = ()


@frozen(kw_only=True)
class PodShape:
    """A Pod."""

    metadata: ObjectMeta = field(factory=ObjectMeta)
    spec: PodSpecShape = field(factory=PodSpecShape)
    status: PodStatusShape = field(factory=PodStatusShape)
