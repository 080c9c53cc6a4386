"""Many Workspaces applied at once on kwok nodes, until every one is ready: the operator against kubectl alone.

The Workspaces run on existing nodes, so that no cloud is measured. The floor makes the same children, once without an
operator, by kubectl alone. Afterwards the operator starts again among all of them, with nothing to do.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from local_cluster.kubectl import Kubectl
from local_cluster.operator_process import Operator

from benchmarks import process
from benchmarks.existing_nodes import INFERENCE_READY, create, group, is_ready, make_nodes, workspace
from benchmarks.floor import copy_of
from benchmarks.simulated_cluster import SimulatedCluster, running, simulated_cluster
from benchmarks.timeline import WATCHES_START_S, Watching

QUIET_S = 3.0
"""An operator that did nothing for so long has nothing left to do: its slowest retry after a conflict is far below."""
SAMPLE = "sample-workspace"
READY_REPLICAS = "{.status.readyReplicas}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how many Workspaces."""
    parser.add_argument("--n", type=int, default=100, metavar="N", help="how many Workspaces (default: 100)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the operator, then its restart, then the floor, each in a namespace of its own on the same nodes."""
    count: int = options.n
    with simulated_cluster() as cluster:
        make_nodes(cluster.kubectl, count)
        operator = cluster.operator(options.operator_python, "--controllers", "workspace", "--node-provisioner", "byo")
        with running(operator):
            template = _children(cluster.kubectl, operator)
            measured = _operators_run(cluster.kubectl, operator, count)
        _tell("operator", measured)
        restarted = _restart(cluster, options, count)
        _tell("restart", restarted)
        floor_s = _floor(cluster.kubectl, template, count)
    return {
        "n": count,
        "floor": {"wall_s": round(floor_s, 2)},
        "operator": measured,
        "wall_ratio_to_floor": round(measured["wall_s"] / floor_s, 2),
        "restart": restarted,
    }


def show(result: dict[str, Any]) -> None:
    """Print the figures as a table."""
    count, measured, restarted = result["n"], result["operator"], result["restart"]
    print(f"{count} Workspaces on existing nodes, created at once, until all are InferenceReady")
    print(f"{'floor':<20} {result['floor']['wall_s']:>10.2f} s  by kubectl alone")
    print(f"{'operator':<20} {measured['wall_s']:>10.2f} s  {result['wall_ratio_to_floor']:.2f} of the floor")
    print(f"{'rate':<20} {count / measured['wall_s']:>10.1f} a second")
    print(f"{'cpu':<20} {measured['cpu_s']:>10.2f} s  {1000 * measured['cpu_s'] / count:.1f} ms each")
    print(f"{'rss':<20} {measured['rss_bytes'] / 2**20:>10.1f} MiB")
    print(f"{'restart':<20} {restarted['quiet_s']:>10.2f} s  until quiet, {restarted['writes']:g} writes")
    print(f"{'rss then':<20} {restarted['rss_bytes'] / 2**20:>10.1f} MiB")


def _tell(phase: str, figures: dict[str, Any]) -> None:
    """What is known already: with thousands of Workspaces the next phase takes long."""
    print(f"bench: {phase}: {json.dumps(figures)}", file=sys.stderr, flush=True)


def _operators_run(kubectl: Kubectl, operator: Operator, count: int) -> dict[str, Any]:
    names = {f"bench-{number}" for number in range(count)}
    pid = process.operator_pid(operator.state)
    cpu_before_s = process.cpu_s(pid)
    with Watching(kubectl, "workspaces", (INFERENCE_READY,)) as workspaces:
        time.sleep(WATCHES_START_S)
        started = time.monotonic()
        create(kubectl, [workspace(f"bench-{number}", number) for number in range(count)])
        ended = workspaces.last(names, is_ready, _patience_s(count))
    return {
        "wall_s": round(ended - started, 2),
        "cpu_s": round(process.cpu_s(pid) - cpu_before_s, 2),
        "rss_bytes": process.rss_bytes(pid),
        "peak_rss_bytes": process.peak_rss_bytes(pid),
    }


def _restart(cluster: SimulatedCluster, options: argparse.Namespace, count: int) -> dict[str, Any]:
    """Start the operator among finished work, without a Lease, so that every write is one too many."""
    operator = cluster.operator(
        options.operator_python, "--controllers", "workspace", "--node-provisioner", "byo", "--leader-elect=false"
    )
    started = time.monotonic()
    with running(operator):
        port, pid = process.metrics_port(operator.state), process.operator_pid(operator.state)
        quiet_at = _quiet_since(port, _patience_s(count))
        return {
            "quiet_s": round(quiet_at - started, 2),
            "writes": process.writes(port),
            "cpu_s": round(process.cpu_s(pid), 2),
            "rss_bytes": process.rss_bytes(pid),
        }


def _quiet_since(port: int, patience_s: float) -> float:
    """The instant since which the operator has done nothing. Raises TimeoutError when it does not come to rest."""
    deadline = time.monotonic() + patience_s
    before, since = -1.0, time.monotonic()
    while time.monotonic() < deadline:
        seen = process.reconciles(port)
        if seen != before or not seen:
            before, since = seen, time.monotonic()
        elif time.monotonic() - since > QUIET_S:
            return since
        time.sleep(0.2)
    raise TimeoutError(f"the operator still reconciles {patience_s:.0f} s after its start")


def _floor(kubectl: Kubectl, template: list[dict[str, Any]], count: int) -> float:
    """Seconds until the StatefulSets of as many copies of the children, made by kubectl alone, are ready."""
    names = {f"floor-{number}" for number in range(count)}
    copies = [_copy(child, f"floor-{number}", group(number)) for number in range(count) for child in template]
    with Watching(kubectl, "statefulsets", (READY_REPLICAS,)) as sets:
        time.sleep(WATCHES_START_S)
        started = time.monotonic()
        create(kubectl, copies)
        return sets.last(names, lambda seen: seen.columns == ("1",), _patience_s(count)) - started


def _children(kubectl: Kubectl, operator: Operator) -> list[dict[str, Any]]:
    """What the operator makes for one Workspace: the template of the floor. Making it warms the cluster up, too."""
    with Watching(kubectl, "workspaces", (INFERENCE_READY,)) as workspaces:
        create(kubectl, [workspace(SAMPLE, 0)])
        try:
            workspaces.last({SAMPLE}, is_ready, 60.0)
        except TimeoutError as error:
            operator.require_running()
            status = kubectl.run("get", "workspace", SAMPLE, "-o", "jsonpath={.status.conditions}")
            raise TimeoutError(f"{SAMPLE} is not ready: {status}") from error
    kinds = (("service", SAMPLE), ("service", f"{SAMPLE}-headless"), ("statefulset", SAMPLE))
    return [kubectl.get(kind, name) for kind, name in kinds]


def _copy(obj: dict[str, Any], name: str, nodes: str) -> dict[str, Any]:
    """The object for another name and group of nodes."""
    return copy_of(obj, {SAMPLE: name, f'"{group(0)}"': f'"{nodes}"'})


def _patience_s(count: int) -> float:
    """How long all of them may take: far below the slowest rate that would be of any use."""
    return 120.0 + count
