"""hack/cluster: the command line of the local cluster."""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from kaito_controller.providers.local.cluster import BadClusterFile
from kaito_controller.providers.local.host_network import NetworkProblem
from kaito_controller.providers.local.machines import MachineLimit, MachineProblem
from kaito_controller.providers.local.programs import MissingProgram
from kaito_controller.testing.control_plane import ControlPlane, ControlPlaneError
from kaito_controller.testing.programs import ProgramMissing
from kaito_controller.testing.registry import RegistryError
from local_cluster import lifecycle, report, surroundings
from local_cluster import registry as registry_of
from local_cluster.kubectl import KubectlError
from local_cluster.phases import Phases
from local_cluster.problem import Problem
from local_cluster.state import ClusterState, clusters_folder

EXPECTED = (Problem, ControlPlaneError, ProgramMissing, KubectlError, NetworkProblem, MachineProblem, MachineLimit,
            MissingProgram, BadClusterFile, RegistryError)  # fmt: skip
"""What is a person's to remedy: said in its own words, without a traceback."""

DEFAULT_NAME = "kaito"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="hack/cluster", description="A Kubernetes cluster on this machine.")
    commands = top.add_subparsers(dest="command", required=True, metavar="up|down|load|status|kubeconfig|registry|logs")
    made = {}
    for name, help_text in (
        ("up", "start a cluster, or add what the running one lacks"),
        ("down", "take a cluster away, without a trace"),
        ("load", "load an image's archive into the real nodes"),
        ("status", "show what runs; exits 1 when the cluster is not whole"),
        ("kubeconfig", "print the path of the administrator's kubeconfig"),
        ("registry", "start an OCI registry that pods reach, unless it runs, and print its address"),
        ("logs", "print what a component printed"),
    ):
        made[name] = commands.add_parser(name, help=help_text, description=help_text)
        made[name].add_argument("--name", default=DEFAULT_NAME, help="name of the cluster (default: %(default)s)")
    add = made["up"].add_argument
    add("--nodes", type=_count, metavar="N", help="real nodes: containerd, kubelet, kube-proxy (default: 1)")
    add("--kwok-nodes", type=_count, default=0, metavar="N", help="simulated nodes (default: 0)")
    add("--port", type=_port, default=0, metavar="PORT", help="port of the API server (default: a free one)")
    add("--max-nodes", type=_count, default=4, metavar="N", help="nodes a provisioner may add (default: %(default)s)")
    add("--registry", action="store_true", help="with a registry, as hack/cluster registry makes one")
    add("--kubeconfig", type=Path, metavar="FILE", help="use the cluster of this kubeconfig instead of making one")
    made["registry"].add_argument("--secret", action="store_true", help="print the Secret that opens it instead")
    made["load"].add_argument(
        "archive", type=Path, metavar="FILE.tar", help="an OCI archive, as hack/images build makes"
    )
    made["logs"].add_argument("component", nargs="?", help="a component, NODE/PROGRAM, or nothing for a list")
    made["logs"].add_argument("--follow", "-f", action="store_true", help="go on as more is printed")
    return top


def up(arguments: argparse.Namespace) -> int:
    """Start a cluster and say how to use it."""
    state = ClusterState.of(arguments.name)
    if arguments.kubeconfig:
        if arguments.nodes or arguments.kwok_nodes or arguments.port or arguments.registry:
            raise Problem(
                "--kubeconfig uses a cluster that is there: leave out --nodes, --kwok-nodes, --port and --registry"
            )
        lifecycle.adopt(state, arguments.kubeconfig)
    else:
        started = time.monotonic()
        wanted = lifecycle.Wanted(nodes=arguments.nodes, kwok_nodes=arguments.kwok_nodes, port=arguments.port,
                                  max_nodes=arguments.max_nodes, registry=arguments.registry)  # fmt: skip
        lifecycle.up(state, wanted, Phases())
        print(f"The cluster {state.name!r} is up after {time.monotonic() - started:.0f} s.", file=sys.stderr)
    document = state.read() or {}
    option = "" if state.name == DEFAULT_NAME else f" --name {state.name}"
    print(f"Kubernetes {document['kubernetes_version']}: export KUBECONFIG={document['kubeconfig']}", file=sys.stderr)
    if arguments.registry:
        print(registry_of.advice(document["registry"]), file=sys.stderr)
    print(f"Look with hack/cluster status{option}, end with hack/cluster down{option}.", file=sys.stderr)
    return 0


def down(arguments: argparse.Namespace) -> int:
    """Take a cluster away."""
    state = ClusterState.of(arguments.name)
    existed = lifecycle.down(state)
    what = "is down" if existed else "was not there; nothing to do"
    print(f"The cluster {state.name!r} {what}.", file=sys.stderr)
    return 0


def load(arguments: argparse.Namespace) -> int:
    """Load an image into the nodes."""
    names = lifecycle.load(ClusterState.of(arguments.name), arguments.archive.absolute())
    print(f"{arguments.archive.name} is on {', '.join(names) or 'no node yet'}.", file=sys.stderr)
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Show what a cluster is made of."""
    state, document = _existing(arguments.name)
    running = lifecycle.is_running(state, document)
    where = document.get("server", document["kubeconfig"])
    print(f"{state.name}: Kubernetes {document['kubernetes_version']} at {where}, {'up' if running else 'NOT whole'}\n")
    print(report.components(state, document))
    if running:
        print(report.nodes(lifecycle.kubectl_of(document)), end="")
        return 0
    print("Start it afresh with hack/cluster up, or take it away with hack/cluster down.")
    return 1


def kubeconfig(arguments: argparse.Namespace) -> int:
    """Print the path of the kubeconfig."""
    _, document = _existing(arguments.name)
    print(document["kubeconfig"])
    return 0


def registry(arguments: argparse.Namespace) -> int:
    """Start the cluster's registry and print its address."""
    state, document = _existing(arguments.name)
    if not lifecycle.is_running(state, document):
        raise Problem(f"the cluster {state.name!r} is not whole: start it afresh with hack/cluster up --registry")
    with state.locked():
        told = registry_of.ensure(state)
    if arguments.secret:
        print(Path(told["secret"]).read_text())
        return 0
    print(registry_of.advice(told), file=sys.stderr)
    print(told["address"])
    return 0


def logs(arguments: argparse.Namespace) -> int:
    """Print a log, or the names of the logs there are."""
    state = ClusterState.of(arguments.name)
    found = _logs(state)
    if not found:
        raise Problem(f"there are no logs of a cluster {state.name!r}: {_others()}")
    if arguments.component is None:
        print("\n".join(found))
        return 0
    if arguments.component not in found:
        raise Problem(f"there is no log of {arguments.component!r}: choose one of {', '.join(found)}")
    path = found[arguments.component]
    if arguments.follow:
        os.execvp("tail", ["tail", "--lines=+1", "--follow=name", str(path)])  # noqa: S606 - no shell is meant
    with path.open("rb") as stream:
        sys.stdout.flush()
        shutil.copyfileobj(stream, sys.stdout.buffer)
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "up": up, "down": down, "load": load, "status": status, "kubeconfig": kubeconfig, "registry": registry,
    "logs": logs,
}  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Run one command; what a person can remedy is one sentence and exit status 1."""
    parsed = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupted)
    surroundings.enter(parsed.name)
    try:
        return COMMANDS[parsed.command](parsed)
    except EXPECTED as error:
        print(f"hack/cluster {parsed.command}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"hack/cluster {parsed.command}: interrupted", file=sys.stderr)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        where = clusters_folder() / parsed.name
        print(f"hack/cluster {parsed.command}: the disk of {where} is full: free some space, or point KAITO_STATE to a "
              "folder on a larger disk", file=sys.stderr)  # fmt: skip
    return 1


def _existing(name: str) -> tuple[ClusterState, dict[str, str]]:
    state = ClusterState.of(name)
    document = state.read()
    if document is None:
        raise Problem(f"there is no cluster {name!r}: {_others()}")
    return state, document


def _others() -> str:
    there = sorted(path.parent.name for path in clusters_folder().glob("*/cluster.json"))
    return f"there are {', '.join(there)}; choose with --name" if there else "start one with hack/cluster up"


def _logs(state: ClusterState) -> dict[str, Path]:
    processes = ControlPlane(folder=state.folder).processes
    own = {path.stem: path for path in sorted(processes.log("x").parent.glob("*.log"))}
    # Those of a cluster that did not come up are kept beside the others.
    kept = {f"{path.parent.name}/{path.stem}": path for path in sorted(state.folder.glob("logs/*/*.log"))}
    of_nodes = {f"{path.parents[1].name}/{path.stem}": path for path in sorted(state.folder.glob("nodes/*/logs/*.log"))}
    return own | kept | of_nodes


def _interrupted(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text} is no port: take 1 to 65535, or 0 for a free one")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
