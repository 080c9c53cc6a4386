"""An operator whose Workspaces come, change and go for an hour: whether its memory grows, and all ends well.

Each round deletes some Workspaces, makes those of the round before anew, changes the spec of some and kills the pods of
others. What is printed is the slope of the operator's memory once it is warm, and what it did all the while. At the end
every Workspace must become ready again, and of those that were deleted nothing may be left.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

from attrs import define, field, frozen
from local_cluster.kubectl import Kubectl

from benchmarks import process
from benchmarks.existing_nodes import create, listed, make_nodes, workspace
from benchmarks.simulated_cluster import running, simulated_cluster
from benchmarks.slope import slope

MINUTE_S = 60.0
SHARE = 5
"""One Workspace in so many is deleted, one changed and one robbed of its pods each round."""
WARM = 0.25
"""The share of the run that belongs to warming up: caches fill, the allocator finds its size."""
MODES = ("interactivity", "throughput")
MODE_ANNOTATION = "kaito.sh/performance-mode"
PATIENCE_S = 300.0
KINDS = "statefulset,service,controllerrevision,pod"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how long, how often and how many."""
    parser.add_argument("--n", type=int, default=100, metavar="N", help="how many Workspaces (default: 100)")
    parser.add_argument("--minutes", type=float, default=60.0, help="for how long (default: 60)")
    parser.add_argument("--round-seconds", type=float, default=15.0, help="seconds a round (default: 15)")


@frozen(kw_only=True)
class Look:
    """The operator's process at one moment."""

    at_s: float
    rss_bytes: int
    open_files: int


@define
class Population:
    """The Workspaces by number, and the hands that disturb them; round by round others, so that all have their turn."""

    kubectl: Kubectl
    count: int
    changes: int = 0
    _gone: Sequence[int] = field(init=False, default=())

    def turn(self, number: int) -> None:
        """One round of disturbances."""
        returning = self._gone
        self._gone = self._chosen(number, 0)
        if returning:
            create(self.kubectl, [workspace(_name(one), one) for one in returning])
        self._delete("workspace", self._gone)
        changed = [one for one in self._chosen(number, 1) if one not in returning]
        self.kubectl.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=listed(
            [_changed(one, MODES[number % len(MODES)]) for one in changed]
        ))  # fmt: skip
        robbed = self._chosen(number, 2)
        self.kubectl.run("delete", "pod", "--ignore-not-found", "--wait=false", *(f"{_name(one)}-0" for one in robbed))
        self.changes += len(returning) + len(self._gone) + len(changed) + len(robbed)

    def end(self) -> None:
        """Bring back those that are away."""
        create(self.kubectl, [workspace(_name(one), one) for one in self._gone])
        self._gone = ()

    def _chosen(self, number: int, shift: int) -> list[int]:
        return [one for one in range(self.count) if (one + number + shift) % SHARE == 0]

    def _delete(self, kind: str, numbers: Sequence[int]) -> None:
        self.kubectl.run("delete", kind, f"--timeout={PATIENCE_S:.0f}s", *map(_name, numbers))


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Disturb for as long as was asked for, then look whether everything is as it should be."""
    count: int = options.n
    with simulated_cluster() as cluster:
        make_nodes(cluster.kubectl, count)
        operator = cluster.operator(options.operator_python, "--controllers", "workspace", "--node-provisioner", "byo")
        with running(operator):
            pid, port = process.operator_pid(operator.state), process.metrics_port(operator.state)
            population = Population(cluster.kubectl, count)
            create(cluster.kubectl, [workspace(_name(one), one) for one in range(count)])
            _wait_ready(cluster.kubectl, count)
            looks = _disturb(population, pid, options.minutes * MINUTE_S, options.round_seconds)
            population.end()
            _wait_ready(cluster.kubectl, count)
            operator.require_running()
            cluster.kubectl.run("delete", "workspace", "--all", f"--timeout={PATIENCE_S:.0f}s")
            left = _left(cluster.kubectl)
            return {
                "n": count,
                "minutes": options.minutes,
                "changes": population.changes,
                "reconciles": process.reconciles(port),
                "writes": process.writes(port),
                "cpu_s": round(process.cpu_s(pid), 1),
                "left_over": left,
                **_memory(looks),
            }


def show(result: dict[str, Any]) -> None:
    """Print the figures as a table."""
    first, last = result["rss_bytes"][0], result["rss_bytes"][-1]
    print(
        f"{result['n']} Workspaces, {result['changes']} changes in {result['minutes']:g} minutes; all ready at the end"
    )
    print(f"{'rss':<20} {first / 2**20:>10.1f} MiB at first, {last / 2**20:.1f} at last")
    print(f"{'slope once warm':<20} {result['slope_bytes_per_hour'] / 2**20:>10.2f} MiB an hour")
    print(f"{'open files':<20} {result['open_files'][0]:>10} at first, {result['open_files'][-1]} at last")
    print(f"{'reconciles':<20} {result['reconciles']:>10g}, {result['writes']:g} writes, {result['cpu_s']:g} s of CPU")
    print(f"{'left over':<20} {len(result['left_over']):>10} {' '.join(result['left_over'][:5])}")


def _disturb(population: Population, pid: int, seconds: float, round_s: float) -> list[Look]:
    started = time.monotonic()
    looks = [_look(pid, 0.0)]
    number = 0
    while time.monotonic() - started < seconds:
        began = time.monotonic()
        population.turn(number)
        number += 1
        time.sleep(max(0.0, began + round_s - time.monotonic()))
        looks.append(_look(pid, time.monotonic() - started))
    return looks


def _memory(looks: Sequence[Look]) -> dict[str, Any]:
    warm = [look for look in looks if look.at_s >= WARM * looks[-1].at_s]
    hourly = slope([look.at_s / 3600 for look in warm], [look.rss_bytes for look in warm])
    return {
        "rss_bytes": [look.rss_bytes for look in looks],
        "at_s": [round(look.at_s, 1) for look in looks],
        "open_files": [look.open_files for look in looks],
        "slope_bytes_per_hour": round(hourly),
    }


def _look(pid: int, at_s: float) -> Look:
    return Look(at_s=at_s, rss_bytes=process.rss_bytes(pid), open_files=process.open_files(pid))


def _wait_ready(kubectl: Kubectl, count: int) -> None:
    names = [_name(one) for one in range(count)]
    kubectl.run("wait", "--for=condition=InferenceReady", f"--timeout={PATIENCE_S:.0f}s", "workspace", *names)


def _left(kubectl: Kubectl) -> list[str]:
    """What is still there of deleted Workspaces, after the garbage collector had its time."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = kubectl.run("get", KINDS, "--namespace", "default", "-o", "name").split()
        left = [name for name in found if "/bench-" in name]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(1.0)


def _changed(number: int, mode: str) -> dict[str, Any]:
    made = workspace(_name(number), number)
    made["metadata"]["annotations"] = {MODE_ANNOTATION: mode}
    return made


def _name(number: int) -> str:
    return f"bench-{number}"
