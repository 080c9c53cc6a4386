"""What a Workspace's NodeClaims say and which of them are missing or too many. Pure.

Names are a function of the Workspace's UID and an index, so a stale view can ask for the same claim twice but never for
one more. A claim that is being deleted or has failed for good counts as gone: the next free index replaces it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count, islice
from typing import Any, Final

from attrs import field, frozen

from kaito_controller.api import labels as keys
from kaito_controller.kube import metadata
from kaito_controller.kube.conditions import FALSE, TRUE, condition_of, status_of
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.object_meta import ObjectMeta
from kaito_controller.kube.shapes import ConditionShape

MESSAGE_LIMIT: Final = 256

_STAGES: Final = ("Launched", "Registered", "Initialized")
_AWAITING: Final = "AwaitingReconciliation"


@frozen(kw_only=True)
class RequirementShape:
    """One requirement of a claim."""

    key: str = ""
    values: tuple[str, ...] = ()


@frozen(kw_only=True)
class SpecShape:
    """What a claim asks for."""

    requirements: tuple[RequirementShape, ...] = ()


@frozen(kw_only=True)
class StatusShape:
    """What a node provisioner says of a claim."""

    node_name: str = ""
    conditions: tuple[ConditionShape, ...] = ()


@frozen(kw_only=True)
class ClaimShape:
    """The form that a NodeClaim must have to be judged here; which provisioner's it is does not matter."""

    metadata: ObjectMeta = field(factory=ObjectMeta)
    spec: SpecShape = field(factory=SpecShape)
    status: StatusShape = field(factory=StatusShape)


@frozen(kw_only=True)
class Changes:
    """Which indexes to create and which claims to delete, to get from what is there to what is wanted."""

    create: tuple[int, ...] = ()
    delete: tuple[Object, ...] = ()


def is_ready(claim: Object) -> bool:
    """Whether the claim's node is initialized; a claim without a Ready condition counts once it names a node."""
    if metadata.is_deleting(claim):
        return False
    if condition_of(claim, "Ready") is None:
        return bool(node_name(claim))
    return status_of(claim, "Ready") == TRUE


def is_failed(claim: Object) -> bool:
    """Whether the claim will never get a node by itself: registration found more than one."""
    return status_of(claim, "Registered") == FALSE


def instance_types(claim: Object) -> tuple[str, ...]:
    """Return the instance types that the claim allows."""
    requirements: Sequence[Mapping[str, Any]] = (claim.get("spec") or {}).get("requirements") or ()
    found = (need.get("values") or () for need in requirements if need.get("key") == keys.INSTANCE_TYPE)
    return tuple(next(found, ()))


def node_name(claim: Object) -> str:
    """Return the name of the claim's node; empty before registration."""
    return str((claim.get("status") or {}).get("nodeName") or "")


def obstacle(claims: Iterable[Object]) -> tuple[str, str] | None:
    """Return reason and message of the first stage that a claim has not passed; one that says nothing comes last."""
    found = [stage for claim in sorted(claims, key=metadata.name) if (stage := _obstacle_of(claim)) is not None]
    return min(found, key=lambda stage: stage[0] == _AWAITING, default=None)


def changes(
    claims: Sequence[Object],
    *,
    wanted: int,
    instance_type: str,
    name_of: Callable[[int], str],
    nodes_in_use: frozenset[str],
) -> Changes:
    """Return what to create and delete so that `wanted` claims of an instance type are live.

    A claim that has failed or asks for another type (the spec was corrected) is replaced. One whose node still runs a
    pod of the Workspace is not surplus yet: the workload shrinks first.
    """
    present = [claim for claim in claims if not metadata.is_deleting(claim)]
    useless = [claim for claim in present if is_failed(claim) or instance_types(claim) != (instance_type,)]
    live = [claim for claim in present if claim not in useless]
    if len(live) < wanted:
        taken = {metadata.name(claim) for claim in claims}
        free = (index for index in count() if name_of(index) not in taken)
        return Changes(create=tuple(islice(free, wanted - len(live))), delete=tuple(useless))
    idle = [claim for claim in live if node_name(claim) not in nodes_in_use]
    idle.sort(key=lambda claim: (metadata.creation_timestamp(claim), metadata.name(claim)), reverse=True)
    idle.sort(key=is_ready)
    return Changes(delete=(*useless, *idle[: len(live) - wanted]))


def _obstacle_of(claim: Object) -> tuple[str, str] | None:
    if metadata.is_deleting(claim):
        return None
    for stage in _STAGES:
        found = condition_of(claim, stage)
        if found is None or found.get("status") != TRUE:
            reason = str((found or {}).get("reason") or _AWAITING)
            said = str((found or {}).get("message") or f"{stage} is not reported yet")
            text = f"NodeClaim {metadata.name(claim)}: {said}"
            return reason, text if len(text) <= MESSAGE_LIMIT else f"{text[:MESSAGE_LIMIT]}..."
    return None
