"""Machines of a local cluster: each a node made of processes in namespaces of their own, known by its state folder.

A machine is started detached from its maker and outlives it. Its state folder says what it is (`machine.json`) and
which process it is (`process.json`: number and start time); ending that one process ends everything in it.

Everything here blocks; callers with an event loop use threads. One lock file per cluster keeps makers apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

import kaito_controller
from kaito_controller.kube.timestamps import format_timestamp
from kaito_controller.providers.local import cgroups, host_network, node_files, programs
from kaito_controller.providers.local import files as whole_files
from kaito_controller.providers.local.cluster import LocalCluster, group_name, owner_name
from kaito_controller.providers.local.layout import LOGS
from kaito_controller.providers.local.machine_spec import MachineSpec, Taint
from kaito_controller.providers.local.places import MachineLimit, free_number
from kaito_controller.providers.local.processes import ProcessId

__all__ = ["Machine", "MachineLimit", "MachineProblem", "Machines", "clear"]

_PROCESS = "process.json"
_END_TIMEOUT_S = 20.0
_START_TIMEOUT_S = 30.0


class MachineProblem(RuntimeError):  # noqa: N818 - named for what it is
    """A machine could not be started or ended: says which, why, and where its logs are."""


@frozen(kw_only=True)
class Machine:
    """A machine as its state folder has it, and whether it runs."""

    spec: MachineSpec
    folder: Path
    process: ProcessId | None

    @property
    def is_running(self) -> bool:
        """Whether its first process is alive."""
        return self.process is not None and self.process.is_alive()

    @property
    def logs(self) -> tuple[Path, ...]:
        """The log files of its programs."""
        return tuple(sorted((self.folder / LOGS).glob("*.log")))


@frozen(kw_only=True)
class Machines:
    """The machines of one cluster."""

    cluster: LocalCluster

    def all(self) -> list[Machine]:
        """Return every machine that has a state folder, by number."""
        folder = self.cluster.nodes_folder
        return sorted(_read_all(folder), key=lambda machine: machine.spec.number)

    def find(self, name: str) -> Machine | None:
        """Return the machine of this name, or None."""
        return _read(self.cluster.nodes_folder / name)

    def start(
        self,
        name: str,
        *,
        provider_id: str,
        claim_uid: str = "",
        labels: Mapping[str, str] | None = None,
        taints: Sequence[Taint] = (),
        devices: Mapping[str, int] | None = None,
        images: Sequence[Path] = (),
        limit: int | None = None,
    ) -> Machine:
        """Start the machine `name`, or return the one that already runs for the same claim.

        It returns when the node's own first process runs with its network; the node registers some seconds later.
        A machine that died is started again in its old place, with nothing kept on it. `devices` are those it pretends
        to have, by resource; `images` are archives it loads besides those of every node; `limit` bounds how many
        machines with a claim there may be. Raises `MachineLimit`, `MachineProblem`, `MissingProgram`.
        """
        programs.require()
        with self._locked():
            there = self.find(name)
            if there and there.spec.claim_uid == claim_uid and not there.spec.deleting and there.is_running:
                return there
            if there:
                self._remove(there)
            spec = MachineSpec(
                name=name,
                number=there.spec.number if there else self._free_number(for_claim=bool(claim_uid), limit=limit),
                provider_id=provider_id,
                claim_uid=claim_uid,
                labels=dict(labels or {}),
                taints=tuple(taints),
                devices=dict(devices or {}),
                images=tuple(map(str, images)),
                created_at=format_timestamp(datetime.now(UTC)),
            )
            return self._launch(spec)

    def mark_deleting(self, name: str) -> None:
        """Record that a machine is on its way out, so that whoever lists machines sees it."""
        with self._locked():
            machine = self.find(name)
            if machine:
                evolve(machine.spec, deleting=True).save(machine.folder)

    def stop(self, name: str) -> None:
        """End the machine and remove all of it; nothing happens when there is none. Raises `MachineProblem`."""
        with self._locked():
            machine = self.find(name)
            if machine:
                self._remove(machine)

    def _free_number(self, *, for_claim: bool, limit: int | None) -> int:
        return free_number([machine.spec for machine in self.all()], for_claim=for_claim, limit=limit)

    def _launch(self, spec: MachineSpec) -> Machine:
        folder = self.cluster.nodes_folder / spec.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        spec.save(folder)
        try:
            node_files.write(self.cluster, spec, folder)
            process = self._boot(spec, folder)
        except (OSError, ValueError, subprocess.SubprocessError, host_network.NetworkProblem) as error:
            self._remove(Machine(spec=spec, folder=folder, process=_load_process(folder)))
            raise MachineProblem(f"machine {spec.name} could not be started: {error}") from error
        except MachineProblem:
            self._remove(Machine(spec=spec, folder=folder, process=_load_process(folder)))
            raise
        self._route_services()
        return Machine(spec=spec, folder=folder, process=process)

    def _boot(self, spec: MachineSpec, folder: Path) -> ProcessId:
        """Start the node's first process and go through the three lines of `init` with it."""
        command = [
            "setsid",
            "--fork",
            "unshare",
            "--fork",
            "--kill-child=SIGKILL",
            "--pid",
            "--mount",
            "--net",
            "--uts",
        ]
        command += ["--ipc", sys.executable, "-P", "-m", "kaito_controller.providers.local.init", str(folder)]
        package = Path(kaito_controller.__file__).resolve().parent
        with (
            (folder / "boot.log").open("wb") as log,
            subprocess.Popen(
                command,
                cwd="/",
                env={"PATH": programs.PATH, "PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as starter,
        ):
            process = ProcessId(**self._hear(starter, spec, folder))
            whole_files.write_json(folder / _PROCESS, {"pid": process.pid, "started": process.started})
            host_network.attach(self.cluster.plan, self.cluster.plan.node(spec.number), process.pid)
            assert starter.stdin is not None  # noqa: S101 - it was asked for
            starter.stdin.write("go\n")
            starter.stdin.flush()
            self._hear(starter, spec, folder)
        return process

    def _hear(self, starter: subprocess.Popen[str], spec: MachineSpec, folder: Path) -> dict[str, Any]:
        assert starter.stdout is not None  # noqa: S101 - it was asked for
        readable, _, _ = select.select([starter.stdout], [], [], _START_TIMEOUT_S)
        if not readable:
            raise MachineProblem(f"machine {spec.name} said nothing for {_START_TIMEOUT_S:g} s while it started")
        line = starter.stdout.readline().strip()
        said = {} if line == "up" else json.loads(line) if line.startswith("{") else {"error": line or "it ended"}
        if "error" in said:
            log = (folder / "boot.log").read_text(errors="replace").strip().splitlines()
            raise MachineProblem(f"machine {spec.name} could not be started: {said['error']} {' / '.join(log[-3:])}")
        return dict(said)

    def _remove(self, machine: Machine) -> None:
        evolve(machine.spec, deleting=True).save(machine.folder)
        _end(machine.spec.name, machine.process)
        host_network.detach(self.cluster.plan.node(machine.spec.number))
        cgroups.remove(self.cluster.group, machine.spec.name)
        shutil.rmtree(machine.folder)
        self._route_services()

    def _route_services(self) -> None:
        running = [machine for machine in self.all() if machine.is_running and not machine.spec.deleting]
        first = self.cluster.plan.node(running[0].spec.number) if running else None
        host_network.route_services(self.cluster.plan, first)

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        return _locked(self.cluster.state_dir)


def clear(state_dir: Path) -> None:
    """End every machine of a cluster and remove all that they are or crashed ones left, the cluster's bridge included.

    It needs only the cluster's folder, so that it works when nothing in it can be read. Raises `MachineProblem`,
    `NetworkProblem` or OSError when something would not go.
    """
    with _locked(state_dir):
        for folder in (state_dir / "nodes").glob("*/"):
            _end(folder.name, _load_process(folder))
        host_network.release(owner_name(state_dir))
        cgroups.remove(group_name(state_dir))
        if (state_dir / "nodes").exists():
            shutil.rmtree(state_dir / "nodes")
    (state_dir / "machines.lock").unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(state_dir: Path) -> Iterator[None]:
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (state_dir / "machines.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read_all(folder: Path) -> list[Machine]:
    found = [_read(entry) for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []
    return [machine for machine in found if machine]


def _read(folder: Path) -> Machine | None:
    spec = MachineSpec.load(folder)
    return Machine(spec=spec, folder=folder, process=_load_process(folder)) if spec else None


def _end(name: str, process: ProcessId | None) -> None:
    if process and not process.end(signal.SIGKILL, timeout_s=_END_TIMEOUT_S):
        raise MachineProblem(
            f"machine {name}: process {process.pid} has not ended {_END_TIMEOUT_S:g} s after "
            "SIGKILL: it waits for a device; try again later"
        )


def _load_process(folder: Path) -> ProcessId | None:
    try:
        return ProcessId(**json.loads((folder / _PROCESS).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
