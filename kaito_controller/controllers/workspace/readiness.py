"""Is what the plan wants there and working? One verdict per condition, from the snapshot alone. Pure."""

from __future__ import annotations

from typing import Final

from kaito_controller.api.reasons import Reason
from kaito_controller.controllers.workspace import claims, nodes, pods, weights_status
from kaito_controller.controllers.workspace.drift import drift
from kaito_controller.controllers.workspace.plan import Plan
from kaito_controller.controllers.workspace.serving import ServingPlan
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.verdict import Verdict
from kaito_controller.kube import metadata
from kaito_controller.kube.metadata import Object

MESSAGE_LIMIT: Final = 256


def node_claims(plan: Plan, snapshot: Snapshot) -> Verdict:
    """Whether as many NodeClaims are ready as the plan needs; if not, the stage that the first one has not passed."""
    ready = [claim for claim in snapshot.node_claims if claims.is_ready(claim)]
    if len(ready) >= plan.node_count:
        return Verdict(holds=True, reason=Reason.NODE_CLAIMS_READY, message="Enough NodeClaims are ready")
    unready = [claim for claim in snapshot.node_claims if not claims.is_ready(claim)]
    reason, said = claims.obstacle(unready) or ("", "")
    counted = f"Ready NodeClaims are not enough: {len(ready)} of {plan.node_count}"
    if not reason:
        return Verdict(holds=False, reason=Reason.NODE_CLAIM_NOT_READY, message=counted)
    return Verdict(holds=False, reason=reason, message=said)


def ready_nodes(plan: Plan, snapshot: Snapshot) -> tuple[Object, ...]:
    """Return the nodes that can take a pod of the plan now: Ready, of the right type, with their GPUs registered."""
    return tuple(node for node in _of_right_type(plan, snapshot) if nodes.is_ready(node) and _shows_gpus(plan, node))


def node(plan: Plan, snapshot: Snapshot) -> Verdict:
    """Whether as many nodes are ready, with their GPUs, as the plan needs."""
    able = ready_nodes(plan, snapshot)
    if len(able) >= plan.node_count:
        pressing = nodes.pressures(able)
        warning = f"; warning: worker node(s) under resource pressure: {pressing}" if pressing else ""
        return Verdict(holds=True, reason=Reason.NODES_READY, message=f"Enough Nodes are ready{warning}")
    blind = [one for one in _of_right_type(plan, snapshot) if nodes.is_ready(one) and not _shows_gpus(plan, one)]
    if blind:
        message = (
            f"waiting all node plugins to be ready: node {metadata.name(blind[0])} offers "
            f"{nodes.gpus(blind[0], plan.resource)} of {plan.gpus_per_node} "
            f"{plan.resource}"
        )
        return Verdict(holds=False, reason=Reason.NODE_PLUGINS_NOT_READY, message=message)
    message = f"Not enough Nodes are ready: {len(able)} of {plan.node_count}"
    return Verdict(holds=False, reason=Reason.NODE_NOT_READY, message=message)


def resource(plan: Plan, claim_verdict: Verdict | None, node_verdict: Verdict) -> Verdict:
    """Whether everything is there that the workload runs on; if not, what is missing first."""
    if claim_verdict is not None and not claim_verdict.holds:
        return claim_verdict
    if node_verdict.holds:
        return Verdict(
            holds=True,
            reason=Reason.RESOURCE_STATUS_SUCCESS,
            message=f"workspace resource is ready{_pressure(node_verdict)}",
        )
    if plan.provisions:
        return node_verdict
    message = f"node status condition not ready: {node_verdict.message}"
    return Verdict(holds=False, reason=Reason.RESOURCE_STATUS_NOT_READY, message=message)


def inference(plan: ServingPlan, snapshot: Snapshot) -> Verdict:
    """Whether every replica of the workload as it is wanted now answers its readiness probe."""
    live = snapshot.stateful_set
    counted = f"{_ready_replicas(plan, live)} of {plan.node_count} replicas are ready" if live else "it is not made yet"
    if live is not None and has_rolled_out(plan, live) and _ready_replicas(plan, live) >= plan.node_count:
        return Verdict(holds=True, reason=Reason.INFERENCE_SUCCESS, message="Inference has been deployed successfully")
    files = weights_status.verdict(weights_status.weights(plan, snapshot))
    found = pods.trouble(snapshot.pods)
    # An engine that ends because its files cannot be had keeps crashing; why is the agent's to say.
    if files is not None and (found is None or found.reason is Reason.CONTAINER_CRASH_LOOP):
        return files
    if found is not None:
        return Verdict(holds=False, reason=found.reason, message=found.message)
    return Verdict(holds=False, reason=Reason.INFERENCE_PENDING, message=f"Inference workload is not ready: {counted}")


def worker_nodes(plan: Plan, snapshot: Snapshot) -> list[str]:
    """Return the names of the nodes it runs on: those made for it, or of existing ones those with its pods."""
    able = {metadata.name(one) for one in ready_nodes(plan, snapshot)}
    if plan.provisions:
        return sorted(able)
    return sorted(able & {str((pod.get("spec") or {}).get("nodeName") or "") for pod in snapshot.pods})


def has_rolled_out(plan: ServingPlan, live: Object) -> bool:
    """Whether the StatefulSet controller has seen the current template and every pod is made from it."""
    status = live.get("status") or {}
    if drift(plan.stateful_set, live) is not None or metadata.is_deleting(live):
        return False
    if int(status.get("observedGeneration") or 0) < metadata.generation(live):
        return False
    return int(status.get("updatedReplicas") or 0) >= plan.node_count


def _ready_replicas(plan: Plan, live: Object) -> int:
    return min(int((live.get("status") or {}).get("readyReplicas") or 0), plan.node_count)


def _of_right_type(plan: Plan, snapshot: Snapshot) -> list[Object]:
    """Existing nodes were chosen by label; of a claim's node the type must be the one asked for."""
    if not plan.provisions:
        return list(snapshot.nodes)
    wanted = plan.workspace.resource.instance_type.lower()
    live = {claims.node_name(claim) for claim in snapshot.node_claims if claims.is_ready(claim)}
    mine = (one for one in snapshot.nodes if metadata.name(one) in live)
    return [one for one in mine if nodes.instance_type(one).lower() == wanted]


def _shows_gpus(plan: Plan, one: Object) -> bool:
    return nodes.gpus(one, plan.resource) >= plan.gpus_per_node


def _pressure(verdict: Verdict) -> str:
    _, mark, rest = verdict.message.partition("; warning: ")
    return f"{mark}{rest}"
