"""Two operators, of which one leads: it is stopped, continued and killed. Who wrote what is told by the audit log."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from local_cluster.kubectl import Kubectl
from local_cluster.operator_process import NAME, NAMESPACE, Operator

from kaito_controller.machinery.election.leadership import Durations
from kaito_controller.testing import builders
from kaito_controller.testing.apiserver import APIServer, serving
from kaito_controller.testing.eventually import eventually
from kaito_controller.testing.processes import Processes

LEASE = "kaito-controller-workspace"
CREDENTIAL = "authentication.kubernetes.io/credential-id"
TAKE_OVER_S = 60.0
"""A lease lives for 15 s; what is left is for a slow machine."""
SOONEST_S = Durations().lease_s - Durations().renew_deadline_s
"""A leader that still leads renewed its lease within the renew deadline, and the lease lives on from then."""
OUR_GROUPS = {"kaito.sh", "apps", ""}


@frozen(kw_only=True)
class Contender:
    """One of several operators, told apart in the audit log by the id of its token."""

    operator: Operator

    @property
    def pid(self) -> int:
        """The process it was started as."""
        process = Processes(self.operator.state).get(NAME)
        assert process is not None, "the operator has ended"
        return process.pid

    @property
    def has_ended(self) -> bool:
        """Whether its process is gone."""
        return Processes(self.operator.state).get(NAME) is None

    @property
    def end(self) -> tuple[int | None, str]:
        """What its process ended with, and the last lines that it printed."""
        processes = Processes(self.operator.state)
        return processes.exit_code(NAME), processes.last_words(NAME)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[APIServer]:
    """An API server that writes down who writes."""
    with serving(tmp_path / "apiserver", audits=True) as started:
        yield started


@pytest.fixture
def contenders(server: APIServer, tmp_path: Path) -> Iterator[tuple[Contender, Contender]]:
    """Two operators, the first of which leads."""
    kubectl = Kubectl(binary=server.kubectl_program, kubeconfig=server.kubeconfig)
    made = []
    for number in (1, 2):
        state = tmp_path / f"operator-{number}"
        state.mkdir()
        arguments = ("--controllers", "workspace", "--node-provisioner", "byo")
        made.append(
            Contender(operator=Operator(state=state, kubectl=kubectl, python=Path(sys.executable), arguments=arguments))
        )
    try:
        for one in made:
            one.operator.ensure()
            eventually("somebody leads", lambda: bool(holder(server)))
        yield made[0], made[1]
    finally:
        for one in made:
            if not one.has_ended:
                os.kill(one.pid, signal.SIGCONT)
            one.operator.stop()


def lease(server: APIServer) -> dict[str, Any]:
    """What the lease says; nothing while there is none."""
    found = server.kubectl("get", "lease", LEASE, f"--namespace={NAMESPACE}", "--ignore-not-found", "--output=json")
    return dict(json.loads(found)["spec"]) if found else {}


def holder(server: APIServer) -> str:
    """Who holds the lease; empty for nobody."""
    return str(lease(server).get("holderIdentity") or "")


def writes(server: APIServer) -> list[tuple[str, str, int]]:
    """Every write by an operator: the id of its token, what it wrote, and the answer's code."""
    found = []
    for event in server.writes():
        user = event["user"]
        if not user["username"].endswith(":kaito-controller"):
            continue
        found.append((user["extra"][CREDENTIAL][0], _what(event), int(event["responseStatus"]["code"])))
    return found


def _what(event: dict[str, Any]) -> str:
    target = event["objectRef"]
    return f"{target['resource']}/{target.get('name', '')}"


def workspaces(server: APIServer, *names: str) -> None:
    """Make Workspaces on nodes that do not exist: each is written to as soon as somebody looks at it."""
    server.apply(*(builders.manifest(name, "default", instance_type="", match_labels={"no": "node"}) for name in names))


def are_looked_at(server: APIServer, *names: str) -> bool:
    """Whether each of the Workspaces has a status."""
    found = server.get("workspaces", "--namespace=default")["items"]
    return {item["metadata"]["name"] for item in found if (item.get("status") or {}).get("conditions")} >= set(names)


@pytest.mark.slow
@pytest.mark.scenario("LE3", "LE5", "LE8", "LE9")
def test_a_leader_that_was_stopped_does_not_write_when_it_goes_on(
    server: APIServer, contenders: tuple[Contender, Contender]
) -> None:
    """Leadership passes on, and the one who had it stays silent.

    Given two operators, of which the first leads and has been stopped in the middle of its work
    When the second has taken over and done that work, the first goes on, and later the second is killed
    Then the first has ended with an error and without a write, and, started again, takes over from the dead one.
    """
    first, second = contenders
    leader = holder(server)
    workspaces(server, "a")
    eventually("the leader works", lambda: are_looked_at(server, "a"))
    old = {who for who, what, _ in writes(server) if what.startswith("workspaces/")}
    assert len(old) == 1, "one of two writes"

    workspaces(server, *(f"b{number}" for number in range(20)))
    stopped_at = time.monotonic()
    os.kill(first.pid, signal.SIGSTOP)
    eventually("the second takes over", lambda: holder(server) not in {leader, ""}, timeout_s=TAKE_OVER_S)
    assert time.monotonic() - stopped_at > SOONEST_S
    successor = holder(server)
    names = [f"b{number}" for number in range(20)]
    eventually("the work is done", lambda: are_looked_at(server, *names), timeout_s=TAKE_OVER_S)
    taken = next(
        index for index, (who, what, _) in enumerate(writes(server)) if what == f"leases/{LEASE}" and who not in old
    )

    workspaces(server, *(f"c{number}" for number in range(20)))
    os.kill(first.pid, signal.SIGCONT)
    eventually("the first has ended", lambda: first.has_ended)
    code, words = first.end
    assert code == 1
    assert "leader election lost" in words
    eventually("the rest is done", lambda: are_looked_at(server, *(f"c{number}" for number in range(20))))
    after = [(what, code) for who, what, code in writes(server)[taken:] if who in old and code < 300]
    assert after == [], "the old leader must not write"
    now = lease(server)
    assert (now["holderIdentity"], now["leaseTransitions"]) == (successor, 1)

    os.kill(second.pid, signal.SIGKILL)
    killed_at = time.monotonic()
    dead = holder(server)
    first.operator.ensure()
    eventually("the first leads again", lambda: holder(server) not in {dead, ""}, timeout_s=TAKE_OVER_S)
    assert time.monotonic() - killed_at < TAKE_OVER_S
    workspaces(server, "d")
    eventually("it works", lambda: are_looked_at(server, "d"))
