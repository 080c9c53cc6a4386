"""Who is measured: ours with and without accelerators, client-go, kopf and the official client."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import field, frozen
from local_cluster.folders import REPOSITORY

from kaito_controller.testing.programs import built

STREAM, LIST = "stream", "list"


@frozen(kw_only=True)
class Peer:
    """One implementation, and how it is started.

    Attributes:
        ways: the ways in which it can read everything: `stream` (WatchList) and `list`.
        largest: the most pods it is measured with; beyond, a run would take many minutes.
        storm_share: the share of a storm that it gets at once; slow ones would take many minutes for the whole.
        is_ours: whether it answers questions about the loop's lag and the time after decoding.
        control: the command of an operator made with it, for counting writes; none when it makes no operators.
    """

    name: str
    command: tuple[str, ...]
    list_arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(factory=dict)
    list_environment: Mapping[str, str] = field(factory=dict)
    ways: tuple[str, ...] = (STREAM, LIST)
    largest: int = 1 << 30
    storm_share: float = 1.0
    is_ours: bool = False
    control: tuple[str, ...] = ()

    def start(self, server: str, pods: int, way: str) -> tuple[Sequence[str], Mapping[str, str]]:
        """The command and the environment with which it follows the pods of a server."""
        arguments = self.list_arguments if way == LIST else ()
        environment = {**self.environment, **(self.list_environment if way == LIST else {})}
        return (*self.command, "--server", server, "--pods", str(pods), *arguments), environment


def bench_python() -> str:
    """The interpreter of the environment `bench`, made when it is not there."""
    command = [str(REPOSITORY / "hack" / "environment"), "bench"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def peers() -> Sequence[Peer]:
    """Everybody, in the order in which they are measured and shown; the first is what the others are compared with."""
    python = bench_python()
    path = {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'hack'}"}
    clientgo = str(Path(built("peers")) / "clientgo")
    streams = {"KUBE_FEATURE_WatchListClient": "true"}
    ours = (python, "-m", "benchmarks.machinery.follow_ours")
    return (
        Peer(
            name="client-go",
            command=(clientgo, "follow"),
            environment=streams,
            list_environment={"KUBE_FEATURE_WatchListClient": "false"},
        ),
        Peer(
            name="ours",
            command=ours,
            list_arguments=("--lists",),
            environment=path | {"KAITO_JSON": "json", "KAITO_LOOP": "asyncio"},
            is_ours=True,
            control=(python, "-m", "benchmarks.machinery.control_ours"),
        ),
        Peer(
            name="ours-fast",
            command=ours,
            list_arguments=("--lists",),
            environment=path | {"KAITO_JSON": "orjson", "KAITO_LOOP": "uvloop"},
            is_ours=True,
        ),
        Peer(
            name="kopf",
            command=(python, "-m", "benchmarks.machinery.follow_kopf"),
            environment=path,
            ways=(LIST,),
            storm_share=0.5,
            control=(python, "-m", "benchmarks.machinery.follow_kopf", "--changes"),
            largest=10_000,
        ),
        Peer(
            name="official",
            command=(python, "-m", "benchmarks.machinery.follow_official"),
            environment=path,
            ways=(LIST,),
            storm_share=0.05,
            largest=10_000,
        ),
    )
