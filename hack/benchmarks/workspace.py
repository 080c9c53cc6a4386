"""One Workspace from `kubectl apply` to READY on kwok nodes: which of the seconds are the operator's.

On simulated nodes everything that is not the operator takes as little time as it can, so the operator's share stands
out. The floor is the same children made by kubectl alone, in the same run.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from typing import Any

import attrs
from attrs import frozen
from local_cluster.kubectl import Kubectl

from benchmarks import idle, process
from benchmarks.floor import copy_of
from benchmarks.simulated_cluster import simulated_cluster
from benchmarks.timeline import WATCHES_START_S, Watching

RUNS = 5
IDLE_S = 60.0
FIGURES = ("apply_to_claim_s", "operator_s", "ready_s", "floor_s")
READY = '{.status.conditions[?(@.type=="Ready")].status}'
OWNER = "{.metadata.labels.kaito\\.sh/workspace}"
SUCCEEDED = '{.status.conditions[?(@.type=="WorkspaceSucceeded")].status}'


@frozen(kw_only=True)
class Run:
    """Seconds of one Workspace. ``operator_s`` sums the stretches in which nobody but the operator could act."""

    apply_to_claim_s: float
    operator_s: float
    ready_s: float
    floor_s: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes no options of its own."""


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Five Workspaces one after the other, then a minute of quiet."""
    with simulated_cluster() as cluster:
        operator = cluster.operator(
            options.operator_python, "--controllers", "workspace,nodeclaim", "--provider", "kwok"
        )
        operator.ensure()
        runs = [measure(cluster.kubectl, f"bench-{number}") for number in range(RUNS)]
        quiet = idle.watch(process.operator_pid(operator.state), process.metrics_port(operator.state), IDLE_S)
    return {
        "runs": [attrs.asdict(run) for run in runs],
        "median": {
            **{name: round(statistics.median(getattr(run, name) for run in runs), 3) for name in FIGURES},
            "ratio_to_floor": round(statistics.median(run.ready_s / run.floor_s for run in runs), 2),
        },
        "idle": attrs.asdict(quiet),
    }


def show(result: dict[str, Any]) -> None:
    """Print the figures as a table."""
    for name, value in result["median"].items():
        print(f"{name:<20} {value:>10}  (median of {len(result['runs'])})")
    quiet = result["idle"]
    print(f"{'idle rss':<20} {quiet['rss_bytes'] / 2**20:>10.1f}  MiB")
    print(f"{'idle cpu':<20} {quiet['cpu_s_per_minute']:>10}  s a minute")
    due = quiet["lease_writes_due"]
    print(
        f"{'idle writes':<20} {quiet['writes']:>10g}  in {quiet['watched_s']:.0f} s, of which the Lease is due {due:g}"
    )


def workspace(
    name: str, *, preset: str = "phi-4-mini-instruct", instance_type: str = "Standard_NC24ads_A100_v4"
) -> dict[str, Any]:
    """The sample's Workspace under another name, or one of another model on other nodes."""
    return {
        "apiVersion": "kaito.sh/v1beta1",
        "kind": "Workspace",
        "metadata": {"name": name, "namespace": "default"},
        "resource": {
            "instanceType": instance_type,
            "labelSelector": {"matchLabels": {"apps": name}},
        },
        "inference": {"preset": {"name": preset}},
    }


def measure(kubectl: Kubectl, name: str) -> Run:
    """Apply one Workspace, follow it to READY, then make copies of its children by kubectl alone."""
    with (
        Watching(kubectl, "workspaces", (SUCCEEDED,)) as workspaces,
        Watching(kubectl, "nodeclaims", (READY, OWNER), namespaced=False) as claims,
        Watching(kubectl, "nodes", (READY,), namespaced=False) as nodes,
        Watching(kubectl, "statefulsets", ()) as sets,
        Watching(kubectl, "pods", (READY,)) as pods,
    ):
        time.sleep(WATCHES_START_S)
        started = time.monotonic()
        kubectl.run("apply", "-f", "-", stdin=json.dumps(workspace(name)))
        created = workspaces.first(lambda seen: seen.name == name, "the Workspace")
        ready = workspaces.first(lambda seen: seen.name == name and seen.columns == ("True",), "a READY Workspace")
        claim = claims.first(lambda seen: seen.columns[1] == name, "a NodeClaim")
        claim_ready = claims.first(lambda seen: seen.columns == ("True", name), "a ready claim")
        node_ready = nodes.first(lambda seen: seen.name == claim.name and seen.columns == ("True",), "a ready node")
        stateful_set = sets.first(lambda seen: seen.name == name, "the StatefulSet")
        pod_ready = pods.first(lambda seen: seen.name == f"{name}-0" and seen.columns == ("True",), "a ready pod")
    return Run(
        apply_to_claim_s=claim.at - started,
        operator_s=_operators_share(
            (created.at, claim.at),
            (node_ready.at, claim_ready.at),
            (claim_ready.at, stateful_set.at),
            (pod_ready.at, ready.at),
        ),
        ready_s=ready.at - started,
        floor_s=floor(kubectl, name),
    )


def _operators_share(*stretches: tuple[float, float]) -> float:
    """From the Workspace to its claim, from a ready node to a ready claim, to the StatefulSet, from the pod to READY.

    The watches of two kinds may overtake each other by milliseconds: what then ends before it began counts nothing.
    """
    return sum(max(0.0, end - begin) for begin, end in stretches)


def floor(kubectl: Kubectl, name: str) -> float:
    """Seconds until the pod of the same node, Services and StatefulSet, applied by kubectl alone, is ready."""
    claim = next(
        claim
        for claim in kubectl.get("nodeclaims")["items"]
        if claim["metadata"]["labels"].get("kaito.sh/workspace") == name
    )
    children = [
        _floor_node(kubectl.get("node", claim["status"]["nodeName"])),
        copy_of(kubectl.get("service", name), {name: f"floor-{name}"}),
        copy_of(kubectl.get("service", f"{name}-headless"), {name: f"floor-{name}"}),
        copy_of(kubectl.get("statefulset", name), {name: f"floor-{name}"}),
    ]
    with Watching(kubectl, "pods", (READY,)) as pods:
        time.sleep(WATCHES_START_S)
        started = time.monotonic()
        kubectl.run("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": children}))
        ready = pods.first(
            lambda seen: seen.name == f"floor-{name}-0" and seen.columns == ("True",), "the floor's ready pod"
        )
    kubectl.run("delete", "statefulset", f"floor-{name}", "--wait=false")
    return ready.at - started


def _floor_node(node: dict[str, Any]) -> dict[str, Any]:
    """The node again, without what the provisioner put on it to hold it."""
    made = copy.deepcopy(node)
    labels = {key: value.replace("bench-", "floor-bench-") for key, value in node["metadata"]["labels"].items()}
    name = f"floor-{node['metadata']['name']}"
    labels["kubernetes.io/hostname"] = name
    made["metadata"] = {"name": name, "labels": labels, "annotations": node["metadata"].get("annotations", {})}
    made["spec"] = {"taints": [taint for taint in node["spec"].get("taints", []) if taint["key"] == "sku"]}
    made["status"] = {key: node["status"][key] for key in ("capacity", "allocatable")}
    return made
