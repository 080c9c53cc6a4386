"""Every console command of the README, run in the order in which a reader would; the last of them takes it all down."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_cluster import console
from local_cluster.console import Command, Console
from local_cluster.user_session import UserSession

from kaito_controller.testing.eventually import eventually
from kaito_controller.testing.machine import MachineState

pytestmark = pytest.mark.slow

ALREADY_RUN = ("hack/quickstart", "hack/test")
"""The first is the fixture; the second is what runs this test."""

LAST = "hack/cluster down"
"""What the README says after it needs no cluster any more is still tried on this one, so this goes to the end."""

(PAGE,) = console.pages_of(__file__)


def console_commands() -> list[Command]:
    """The README's commands, `hack/cluster down` last."""
    found = [one for one in console.commands(PAGE) if one.text not in ALREADY_RUN]
    return sorted(found, key=lambda one: one.text == LAST)


def test_the_readme_is_true_to_the_last_command(machine_before: MachineState, quickstart: UserSession) -> None:
    """Each command exits 0; deleting gives back pods, claim, node and processes; down leaves nothing."""
    typed = Console(quickstart)
    for command in console_commands():
        if command.text == LAST:
            everything_of_the_workspace_is_gone(quickstart)
        done = typed.type(command)
        assert not done.problem, done.problem
        if "What is KAITO?" in command.text:
            assert quickstart.summary["expected"] in done.output
        if command.text.startswith("kubectl apply"):
            assert done.output.strip()
    eventually("nothing runs any more", lambda: "programs" not in MachineState.read().added_since(machine_before))
    assert MachineState.read().added_since(machine_before) == {}


def everything_of_the_workspace_is_gone(quickstart: UserSession) -> None:
    """Workspace deleted: no pod, Service, NodeClaim, node or kubelet of it is left."""
    kubectl = quickstart.kubectl
    eventually("no NodeClaim is left", lambda: kubectl.get("nodeclaim")["items"] == [])
    eventually("only the cluster's own node is left", lambda: len(kubectl.get("node")["items"]) == 1)
    eventually("no pod is left", lambda: kubectl.get("pod")["items"] == [])
    assert [service["metadata"]["name"] for service in kubectl.get("service")["items"]] == ["kubernetes"]
    eventually("only the cluster's own node runs", lambda: running_machines(quickstart) == {"base-1"})


def running_machines(quickstart: UserSession) -> set[str]:
    """The nodes of this cluster whose init process runs on this machine; other clusters may have theirs."""
    nodes = quickstart.kubectl.kubeconfig.parent / "nodes"
    commands = (command_line(process) for process in Path("/proc").iterdir() if process.name.isdigit())
    arguments = (argument for command in commands for argument in command)
    return {Path(argument).name for argument in arguments if Path(argument).parent == nodes}


def command_line(process: Path) -> list[str]:
    """The arguments of a process; none of one that has just ended."""
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
