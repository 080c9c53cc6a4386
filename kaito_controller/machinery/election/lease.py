"""What a Lease says about a leader, and the Lease that a contender writes next; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import frozen

from kaito_controller.kube.core import LEASES
from kaito_controller.kube.metadata import Object, resource_version
from kaito_controller.kube.timestamps import format_micro_timestamp

FORM: Mapping[str, type] = {"holderIdentity": str, "leaseDurationSeconds": int, "leaseTransitions": int}
"""What is read of a record; none of it is required."""


@frozen(kw_only=True)
class Claim:
    """Who wants to hold which lease, for how long after each renewal."""

    namespace: str
    name: str
    identity: str
    lease_s: float

    def is_for(self, answer: Any) -> bool:
        """Whether this is the lease, in the form in which it is read here."""
        if not isinstance(answer, dict) or answer.get("kind") != LEASES.kind:
            return False
        head, spec = answer.get("metadata"), answer.get("spec") or {}
        if not isinstance(head, dict) or not isinstance(spec, dict) or not head.get("resourceVersion"):
            return False
        has_form = all(isinstance(spec.get(name), kind | None) for name, kind in FORM.items())
        return has_form and (head.get("namespace"), head.get("name")) == (self.namespace, self.name)

    def of(self, lease: Object | None, now: datetime) -> Object:
        """The lease with us as its holder, ready to be sent.

        A renewal keeps acquireTime and leaseTransitions; taking it from another, or from nobody, sets the one and adds
        to the other (LE6). With a lease given, its resourceVersion makes the server refuse when it has changed since.
        """
        stamp = format_micro_timestamp(now)
        # Rounded up: who waits longer than we may lead is never wrong, and the API refuses 0.
        ours: dict[str, Any] = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self.lease_s),
            "acquireTime": stamp,
            "renewTime": stamp,
            "leaseTransitions": 0,
        }
        if lease is None:
            head = {"name": self.name, "namespace": self.namespace}
            return {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": head, "spec": ours}
        old = _spec(lease)
        ours["leaseTransitions"] = int(old.get("leaseTransitions") or 0)
        if holder(lease) == self.identity:
            ours["acquireTime"] = old.get("acquireTime") or stamp
        else:
            ours["leaseTransitions"] += 1
        return _changed(lease, {**old, **ours})


def released(lease: Object, now: datetime) -> Object:
    """The lease without a holder, over in a second, so that the next contender takes it at its next look (LE8)."""
    stamp = format_micro_timestamp(now)
    given_up = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": stamp, "acquireTime": stamp}
    return _changed(lease, {**_spec(lease), **given_up})


def holder(lease: Object | None) -> str:
    """Who holds it; empty for nobody."""
    return str(_spec(lease).get("holderIdentity") or "")


def duration_s(lease: Object | None, default: float) -> float:
    """Seconds after a change for which the holder may go on; the record's own, not the reader's (LE3)."""
    return float(_spec(lease).get("leaseDurationSeconds") or default)


def is_same_record(one: Object | None, other: Object | None) -> bool:
    """Whether nothing that a holder writes differs; labels or managed fields are no renewal."""
    return one is not None and other is not None and _spec(one) == _spec(other)


def _spec(lease: Object | None) -> Mapping[str, Any]:
    return (lease or {}).get("spec") or {}


def _changed(lease: Object, spec: Mapping[str, Any]) -> Object:
    metadata = {**lease["metadata"], "resourceVersion": resource_version(lease)}
    return {**lease, "metadata": metadata, "spec": dict(spec)}
