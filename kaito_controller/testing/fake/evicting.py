"""Evictions: deletions of pods that disruption budgets may refuse. Nobody but a test keeps a budget's status."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from attrs import evolve, frozen

from kaito_controller.kube.core import POD_DISRUPTION_BUDGETS
from kaito_controller.kube.metadata import Object, generation, is_deleting, labels, name
from kaito_controller.kube.timestamps import format_timestamp
from kaito_controller.machinery.clock import Clock
from kaito_controller.testing.fake import status
from kaito_controller.testing.fake.deleting import Deleting
from kaito_controller.testing.fake.request import Request
from kaito_controller.testing.fake.routes import Target
from kaito_controller.testing.fake.storage import Storage

_COLLECTION = f"{POD_DISRUPTION_BUDGETS.plural}.{POD_DISRUPTION_BUDGETS.group}"
_UNCOUNTED = {"Pending", "Succeeded", "Failed"}
_BEHIND_S = 10
"""When to come back to a budget whose status is behind its spec (registry/core/pod/storage/eviction.go)."""


@frozen(kw_only=True)
class Evicting:
    """Carries out evictions."""

    clock: Clock
    storage: Storage
    deleting: Deleting

    def evict(self, target: Target, body: Any, request: Request) -> Object:
        """POST of an Eviction to a pod; raises a `RefusalError` 429 when a budget does not allow it."""
        pods = self.storage.collection(target.kind.group_resource).objects
        pod = pods.get(target.key)
        if pod is None:
            raise status.not_found("", target.resource.plural, target.name)
        if not is_deleting(pod) and (pod.get("status") or {}).get("phase") not in _UNCOUNTED:
            self._ask(target, pod, request)
        options = (body or {}).get("deleteOptions") or {}
        if not request.dry_run:
            self.storage.write(target.kind.group_resource, target.key, _marked(pod, self.clock.now()))
        self.deleting.delete(evolve(target, subresource=""), options, request)
        return status.success(None)

    def _ask(self, target: Target, pod: Object, request: Request) -> None:
        budgets = self.storage.collection(_COLLECTION).objects
        inside = {key: budget for key, budget in budgets.items() if key.startswith(f"{target.namespace}/")}
        covering = {key: budget for key, budget in inside.items() if _covers(budget, pod)}
        if len(covering) > 1:
            raise status.several_budgets()
        for key, budget in covering.items():
            if _is_ready(pod) or not _lets_unready_go(budget):
                self._spend(key, budget, request)

    def _spend(self, key: str, budget: Object, request: Request) -> None:
        state = budget.get("status") or {}
        if state.get("observedGeneration", 0) < generation(budget):
            why = f"The disruption budget {name(budget)} is still being processed by the server."
            raise status.budget(why, _BEHIND_S)
        allowed = state.get("disruptionsAllowed", 0)
        if allowed <= 0:
            needed, there = state.get("desiredHealthy", 0), state.get("currentHealthy", 0)
            why = f"The disruption budget {name(budget)} needs {needed} healthy pods and has {there} currently"
            raise status.budget(why, 0)
        if not request.dry_run:
            self.storage.write(_COLLECTION, key, budget | {"status": state | {"disruptionsAllowed": allowed - 1}})


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def _lets_unready_go(budget: Object) -> bool:
    """An unready pod does not count: it may go when the policy says so, or while enough others are healthy."""
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    state = budget.get("status") or {}
    return bool(state.get("currentHealthy", 0) >= state.get("desiredHealthy", 0) > 0)


def _marked(pod: Object, moment: datetime) -> Object:
    """The pod with the condition that tells why it goes."""
    state = pod.get("status") or {}
    mark = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastTransitionTime": format_timestamp(moment),
    }
    others = [each for each in state.get("conditions") or () if each.get("type") != mark["type"]]
    return pod | {"status": state | {"conditions": [*others, mark]}}


def _covers(budget: Object, pod: Object) -> bool:
    wanted = ((budget.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    found = labels(pod)
    return all(found.get(key) == value for key, value in wanted.items())
