"""The composition root: who this process is in an election."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from kaito_controller.app import wiring
from kaito_controller.app.options import Options, OptionsError
from kaito_controller.machinery.client.client import Client
from kaito_controller.machinery.election.elector import LeaderElector
from kaito_controller.machinery.metrics import Metrics
from kaito_controller.machinery.process.heartbeat import Heartbeat
from kaito_controller.testing.clock import VirtualClock
from kaito_controller.testing.transport import ScriptedTransport


def elector_of(options: Options) -> LeaderElector:
    clock = VirtualClock()
    election = wiring._election(options, clock, Metrics(), Heartbeat(clock))
    return election._make_elector(Client(ScriptedTransport(clock)))


@pytest.mark.scenario("LE10")
def test_a_contender_is_its_host_and_a_number_of_its_own() -> None:
    """Two processes on one host are told apart, and kubectl shows which host leads."""
    options = Options(leader_elect=True, leader_election_namespace="ns")
    one, other = elector_of(options), elector_of(options)
    assert re.fullmatch(re.escape(socket.gethostname()) + r"_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", one.identity)
    assert one.identity != other.identity
    assert (one.namespace, one.name, one.durations.request_s) == ("ns", "kaito-controller-workspace", 5)


@pytest.mark.scenario("LE10")
def test_the_lease_is_in_the_pods_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its service account says; outside a pod it must be named."""
    file = tmp_path / "namespace"
    monkeypatch.setattr(wiring, "NAMESPACE_FILE", file)
    with pytest.raises(OptionsError, match="name it with --leader-election-namespace"):
        elector_of(Options(leader_elect=True))
    file.write_text("kaito-system\n")
    assert elector_of(Options(leader_elect=True)).namespace == "kaito-system"


def test_two_sets_of_controllers_do_not_exclude_each_other() -> None:
    """A lease for each: two Deployments, each with one controller, both work."""
    names = {
        controllers: elector_of(
            Options(leader_elect=True, leader_election_namespace="ns", controllers=controllers)
        ).name
        for controllers in (("workspace",), ("nodeclaim",), ("workspace", "nodeclaim"))
    }
    assert len(set(names.values())) == 3
