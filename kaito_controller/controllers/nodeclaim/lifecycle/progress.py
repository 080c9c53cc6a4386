"""What one reconcile knows of its claim and how far its steps have come."""

from __future__ import annotations

from typing import Any

from attrs import define, evolve, field

from kaito_controller.api.conditions import ConditionType
from kaito_controller.api.nodeclaim import NodeClaim
from kaito_controller.controllers.nodeclaim import conditions
from kaito_controller.kube.conditions import Condition, is_true
from kaito_controller.kube.metadata import Object
from kaito_controller.providers.protocol import Instance


@define
class Progress:
    """A claim on its way through one reconcile: what was read, what the steps found, when to look again.

    ``found`` and ``before`` are the claim as it was read, ``claim`` as the steps have made it, ``node`` its Node as one
    of them has just written it.
    """

    found: Object
    before: NodeClaim
    claim: NodeClaim = field(init=False)
    conditions: tuple[Condition, ...] = field(init=False)
    node: Object | None = None
    retry_after_s: float | None = None
    why: str = ""

    def __attrs_post_init__(self) -> None:
        self.claim = self.before
        self.conditions = conditions.of(self.before)

    def is_true(self, type: ConditionType) -> bool:  # noqa: A002
        """Whether a step is done."""
        return is_true(self.conditions, type.value)

    def retry(self, after_s: float, why: str) -> None:
        """Look again after so many seconds, or earlier if another step asked for that."""
        if self.retry_after_s is None or after_s < self.retry_after_s:
            self.retry_after_s, self.why = after_s, why


def with_instance(claim: NodeClaim, instance: Instance) -> NodeClaim:
    """The claim with what its launch told: the cloud's labels below the claim's own, its annotations above them."""
    head = evolve(
        claim.metadata,
        labels={**instance.labels, **claim.metadata.labels},
        annotations={**claim.metadata.annotations, **instance.annotations},
    )
    status = evolve(
        claim.status,
        provider_id=instance.provider_id,
        image_id=instance.image_id,
        capacity=dict(instance.capacity),
        allocatable=dict(instance.allocatable),
    )
    return evolve(claim, metadata=head, status=status)


def metadata_patch(before: NodeClaim, after: NodeClaim) -> dict[str, Any]:
    """The labels and annotations that changed, in the form of a merge patch of metadata."""
    patch: dict[str, Any] = {}
    for name in ("labels", "annotations"):
        old, new = getattr(before.metadata, name), getattr(after.metadata, name)
        if changed := {key: value for key, value in new.items() if old.get(key) != value}:
            patch[name] = changed
    return patch
