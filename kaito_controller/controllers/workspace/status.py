"""What the user reads: conditions, state, nodes; projected from snapshot, plan and outcome. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from kaito_controller.api import validation
from kaito_controller.api.conditions import ConditionType
from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.workspace import adapter_status, readiness, tuning_state, weights_status
from kaito_controller.controllers.workspace.plan import Plan
from kaito_controller.controllers.workspace.serving import ServingPlan
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.tuning import TuningPlan
from kaito_controller.controllers.workspace.tuning_progress import Run, progress
from kaito_controller.controllers.workspace.tuning_state import State
from kaito_controller.controllers.workspace.verdict import Blocked, Outcome, Verdict
from kaito_controller.kube import conditions, metadata, serde
from kaito_controller.kube.conditions import Condition
from kaito_controller.kube.metadata import Object
from kaito_controller.sizing import report
from kaito_controller.workloads.adapters import specs

PENDING: Final = "Pending"
READY: Final = "Ready"
NOT_READY: Final = "NotReady"

_WAITING: Final = "workspace is waiting for inference workload readiness"


def project(snapshot: Snapshot, plan: ServingPlan | TuningPlan | Blocked, outcome: Outcome, *, now: datetime) -> Object:
    """Return the whole status as it should read."""
    verdicts = _verdicts(snapshot, plan, outcome)
    spec_verdict = _spec_honored(snapshot)
    if spec_verdict is not None:
        verdicts[ConditionType.SPEC_HONORED] = spec_verdict
    status = dict(snapshot.raw.get("status") or {})
    serves = ConditionType.INFERENCE_READY in verdicts
    stale = [ConditionType.JOB_STARTED if serves else ConditionType.INFERENCE_READY]
    if isinstance(plan, Plan) and not plan.provisions:
        stale.append(ConditionType.NODE_CLAIM_READY)
    if isinstance(plan, Blocked) and has_ended_well(snapshot):
        return status
    if snapshot.workspace is not None and not specs(snapshot.workspace):
        stale.append(ConditionType.ADAPTERS_READY)
    status["conditions"] = _merged(snapshot.raw, verdicts, now=now, without=stale)
    if isinstance(plan, Plan):
        status["targetNodeCount"] = plan.node_count
        status["plan"] = _plan(plan)
        status["workerNodes"] = readiness.worker_nodes(plan, snapshot)
    if isinstance(plan, ServingPlan):
        status["adapters"] = [serde.unstructure(one) for one in adapter_status.adapters(plan, snapshot)]
        files = weights_status.weights(plan, snapshot)
        status["weights"] = serde.unstructure(files) if files is not None else None
    if isinstance(plan, TuningPlan):
        run = Run(identity=plan.run, job=plan.made, state=plan.state.state, image=plan.spec.output.image)
        status["tuning"] = progress(snapshot, run, now=now)
        status["state"] = plan.state.state.value
    else:
        status["state"] = _state(status.get("state"), ready=verdicts[ConditionType.WORKSPACE_SUCCEEDED].holds)
    return status


def _plan(plan: Plan) -> Object:
    """The plan by the names that `kubectl kaito plan` uses."""
    shown = {
        "model": plan.preset.model_id,
        "revision": plan.preset.revision,
        "instanceType": plan.sku.name,
        **plan.figures,
        "args": list(plan.arguments),
        "price": report.price_values(plan.price),
    }
    return {name: value for name, value in shown.items() if value is not None}


def project_deletion(raw: Object, *, now: datetime) -> Object:
    """Return the status of a Workspace that is being deleted: as it was, and that it is going."""
    verdict = Verdict(holds=True, reason=Reason.WORKSPACE_DELETED, message="workspace is being deleted")
    status = dict(raw.get("status") or {})
    status["conditions"] = _merged(raw, {ConditionType.WORKSPACE_DELETING: verdict}, now=now)
    return status


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Object:
    """Return the fields of a status that differ, as a merge patch; empty when it reads the same."""
    return {name: value for name, value in after.items() if (before.get(name) or None) != (value or None)}


def _verdicts(snapshot: Snapshot, plan: ServingPlan | TuningPlan | Blocked, outcome: Outcome) -> dict[str, Verdict]:
    if isinstance(plan, Blocked):
        return _blocked(snapshot, plan)
    claims = _refused(outcome, "node_claims") or readiness.node_claims(plan, snapshot) if plan.provisions else None
    node = readiness.node(plan, snapshot)
    resource = readiness.resource(plan, claims, node)
    verdicts = {ConditionType.NODE_CLAIM_READY: claims} if claims is not None else {}
    verdicts |= {ConditionType.NODES_READY: node, ConditionType.RESOURCE_READY: resource}
    if isinstance(plan, TuningPlan):
        verdicts |= _tuning(plan, outcome, resource)
    else:
        verdicts |= _serving(plan, snapshot, outcome, resource)
    return {str(name): verdict for name, verdict in verdicts.items()}


def _serving(
    plan: ServingPlan, snapshot: Snapshot, outcome: Outcome, resource: Verdict
) -> dict[ConditionType, Verdict]:
    served = _refused(outcome, "inference") or _refused(outcome, "service") or readiness.inference(plan, snapshot)
    verdicts = {ConditionType.INFERENCE_READY: served, ConditionType.WORKSPACE_SUCCEEDED: _root(resource, served)}
    loaded = adapter_status.verdict(adapter_status.adapters(plan, snapshot))
    if loaded is not None:
        loaded = _refused(outcome, "adapters") or loaded
    return verdicts if loaded is None else {**verdicts, ConditionType.ADAPTERS_READY: loaded}


def _tuning(plan: TuningPlan, outcome: Outcome, resource: Verdict) -> dict[ConditionType, Verdict]:
    refused = _refused(outcome, "tuning")
    started = refused or tuning_state.started(plan.state)
    root = tuning_state.succeeded(plan.state, resource)
    if refused is not None:
        root = Verdict(holds=False, reason=Reason.WORKSPACE_PENDING, message=f"{refused.reason}: {refused.message}")
    return {ConditionType.JOB_STARTED: started, ConditionType.WORKSPACE_SUCCEEDED: root}


def has_ended_well(snapshot: Snapshot) -> bool:
    """Whether the tuning that is asked for has ended well: what happens to its ConfigMap or model does not undo it."""
    found = conditions.find(existing_conditions(snapshot.raw), ConditionType.WORKSPACE_SUCCEEDED)
    status = snapshot.raw.get("status") or {}
    succeeded = bool(snapshot.raw.get("tuning")) and status.get("state") == State.SUCCEEDED
    return succeeded and found is not None and found.observed_generation == metadata.generation(snapshot.raw)


def _root(resource: Verdict, served: Verdict) -> Verdict:
    if resource.holds and served.holds:
        return Verdict(holds=True, reason=Reason.WORKSPACE_SUCCEEDED, message="workspace succeeds")
    missing = served if resource.holds else resource
    return Verdict(holds=False, reason=Reason.WORKSPACE_PENDING, message=f"{_WAITING}: {missing.message}")


def _blocked(snapshot: Snapshot, blocked: Blocked) -> dict[str, Verdict]:
    """The reason stands on every condition that it keeps from holding: whoever waits for one of them reads it."""
    verdict = Verdict(holds=False, reason=blocked.reason, message=blocked.message)
    tunes = bool(snapshot.raw.get("tuning")) and not snapshot.raw.get("inference")
    work = ConditionType.JOB_STARTED if tunes else ConditionType.INFERENCE_READY
    root = Reason.WORKSPACE_PENDING if blocked.waits else Reason.WORKSPACE_FAILED
    verdicts = {
        ConditionType.RESOURCE_READY: verdict,
        work: verdict,
        ConditionType.WORKSPACE_SUCCEEDED: Verdict(
            holds=False, reason=root, message=f"{blocked.reason}: {blocked.message}"
        ),
    }
    if blocked.reason in {Reason.NODE_NOT_READY, Reason.NODE_PLUGINS_NOT_READY}:
        verdicts[ConditionType.NODES_READY] = verdict
    return {str(name): found for name, found in verdicts.items()}


def _refused(outcome: Outcome, step: str) -> Verdict | None:
    refusal = outcome.refusal(step)
    return Verdict(holds=False, reason=refusal.reason, message=refusal.message) if refusal is not None else None


def _spec_honored(snapshot: Snapshot) -> Verdict | None:
    if snapshot.workspace is None:
        return None
    idle = validation.unimplemented_fields(snapshot.workspace)
    if not idle:
        return Verdict(holds=True, reason=Reason.SPEC_HONORED, message="every field that is set has an effect")
    fields = ", ".join(str(field) for field in idle)
    message = (
        f"accepted without effect in this version: {fields}. Remove them, or wait for a version that acts on them."
    )
    return Verdict(holds=False, reason=Reason.FIELDS_NOT_IMPLEMENTED, message=message)


def _merged(
    raw: Object, verdicts: Mapping[str, Verdict], *, now: datetime, without: Sequence[str] = ()
) -> list[Object]:
    generation = metadata.generation(raw)
    desired = [
        Condition(
            type=name,
            status=verdict.status,
            reason=str(verdict.reason),
            message=verdict.message,
            observed_generation=generation,
        )
        for name, verdict in verdicts.items()
    ]
    merged = conditions.merge(existing_conditions(raw), desired, now=now)
    return [serde.unstructure(condition) for condition in conditions.without(merged, without)]


def existing_conditions(raw: Object) -> tuple[Condition, ...]:
    """Return the conditions as written; one that does not have the form of a condition is as good as absent."""
    found = []
    for item in (raw.get("status") or {}).get("conditions") or ():
        try:
            found.append(serde.structure(Condition, item))
        except serde.SerdeError:
            continue
    return tuple(found)


def _state(before: Any, *, ready: bool) -> str:
    if ready:
        return READY
    if before == State.RUNNING:  # a Job that runs goes on, whatever was found to be wrong meanwhile
        return str(before)
    return NOT_READY if before in {READY, NOT_READY} else PENDING
