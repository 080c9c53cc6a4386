"""Which machines have lost their claim and which claims their machine. Pure: two lists in, what to remove out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from kaito_controller.api.conditions import ConditionType
from kaito_controller.controllers.nodeclaim import managed
from kaito_controller.kube import metadata
from kaito_controller.kube.conditions import TRUE, status_of
from kaito_controller.kube.metadata import Object
from kaito_controller.providers.protocol import Instance


def orphaned(instances: Iterable[Instance], claims: Iterable[Object], *, now: datetime, age_s: float) -> list[Instance]:
    """Instances that no claim of the cluster stands for, old enough that none can be about to.

    An instance without a known creation time is left alone: a guard by age that does not know the age guards nothing.
    Claims count by UID and by provider ID, whatever their node class and even while they are being deleted; a claim
    that merely has the same name is another one.
    """
    present = list(claims)
    uids = {metadata.uid(claim) for claim in present}
    ids = {managed.claimed_provider_id(claim) for claim in present}
    oldest = now - timedelta(seconds=age_s)
    return [
        instance
        for instance in instances
        if not instance.deleting
        and instance.created_at is not None
        and instance.created_at <= oldest
        and instance.claim_uid not in uids
        and instance.provider_id not in ids
    ]


def abandoned(
    claims: Iterable[Object], instances: Sequence[Instance], nodes_of: Callable[[str], Sequence[Object]]
) -> list[Object]:
    """Registered claims whose machine the cloud does not list, and whose Node is missing or does not report."""
    alive = {instance.provider_id for instance in instances}
    return [
        claim
        for claim in claims
        if not metadata.is_deleting(claim)
        and is_registered(claim)
        and managed.claimed_provider_id(claim) not in alive
        and not any(managed.is_ready(node) for node in nodes_of(managed.claimed_provider_id(claim)))
    ]


def is_registered(claim: Object) -> bool:
    """Whether the claim's machine had joined as a Node."""
    return status_of(claim, ConditionType.REGISTERED.value) == TRUE
