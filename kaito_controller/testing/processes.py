"""Programs that outlive the call that started them, and are found and stopped again for certain.

A process is remembered by its id and the time the kernel started it, so that a recycled id is never signalled. All of a
group carry a marker in their environment as well: what was started by a call that died before it could write the record
is found by that.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from attrs import asdict, frozen

MARKER = "KAITO_PROCESS_GROUP"
"""The environment variable that says which group a process belongs to."""

_parent = ThreadPoolExecutor(max_workers=1, thread_name_prefix="parent of processes")
_children: dict[int, subprocess.Popen[bytes]] = {}


@frozen(kw_only=True)
class Process:
    """One process: its id, and its start in clock ticks since boot (field 22 of /proc/PID/stat)."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether it still runs; a process that ended and waits to be reaped does not."""
        return _started(self.pid) == self.started


class Processes:
    """The processes of one group, with their records in `folder`/processes and their output in `folder`/logs."""

    def __init__(self, folder: Path, *, die_with_parent: bool = False) -> None:
        """Open the group of a folder. With `die_with_parent` the kernel ends them when this process dies."""
        self._records = folder / "processes"
        self._logs = folder / "logs"
        self._marker = str(folder.resolve())
        self._prefix: tuple[str, ...] = ()
        if die_with_parent and (setpriv := shutil.which("setpriv")):
            self._prefix = (setpriv, "--pdeathsig", "KILL", "--")

    def start(
        self, name: str, command: Sequence[str | Path], *, folder: Path, environment: Mapping[str, str] | None = None
    ) -> Process:
        """Start a program in a session of its own, with its output appended to its log; return at once."""
        self._records.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as output:
            spawn: partial[subprocess.Popen[bytes]] = partial(
                subprocess.Popen,
                [*self._prefix, *command],
                cwd=folder,
                env={**os.environ, **(environment or {}), MARKER: self._marker},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            # To the kernel the parent is the thread: one that lives as long as this process, whoever calls.
            child = _parent.submit(spawn).result() if self._prefix else spawn()
        _children[child.pid] = child
        process = Process(pid=child.pid, started=_started(child.pid) or 0)
        record = self._records / f"{name}.json"
        temporary = record.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(process)))
        temporary.replace(record)
        return process

    def get(self, name: str) -> Process | None:
        """Return the running process of a name, or None."""
        process = self._record(name)
        return process if process and process.alive else None

    def exit_code(self, name: str) -> int | None:
        """Return what a program ended with; None while it runs, and of one that another process started."""
        process = self._record(name)
        child = _children.get(process.pid) if process else None
        return child.poll() if child else None

    def names(self) -> list[str]:
        """Return the names of all that were started and not stopped, running or not."""
        return sorted(path.stem for path in self._records.glob("*.json"))

    def stop(self, *names: str, grace_s: float = 10.0) -> None:
        """End some together: a request first, by force after the grace; returns when they are gone."""
        end([process for name in names if (process := self._record(name))], grace_s=grace_s)
        for name in names:
            (self._records / f"{name}.json").unlink(missing_ok=True)

    def stop_all(self, *, grace_s: float = 10.0) -> None:
        """End every process of the group, also those without a record."""
        recorded = [process for name in self.names() if (process := self._record(name))]
        end([*recorded, *marked(self._marker)], grace_s=grace_s)
        self.stop(*self.names())

    def log(self, name: str) -> Path:
        """Return the file that holds what a program printed."""
        return self._logs / f"{name}.log"

    def last_words(self, name: str, lines: int = 12) -> str:
        """Return the last lines that a program printed."""
        try:
            return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def _record(self, name: str) -> Process | None:
        try:
            return Process(**json.loads((self._records / f"{name}.json").read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None


def end(processes: Iterable[Process], *, grace_s: float = 10.0) -> None:
    """End processes together: SIGTERM, and SIGKILL for those that are still there after the grace."""
    descriptors = {descriptor: process for process in set(processes) if (descriptor := _open(process)) is not None}
    try:
        remaining = set(descriptors)
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
            for descriptor in remaining:
                _signal(descriptor, number)
            remaining = _wait(remaining, wait_s)
    finally:
        for descriptor, process in descriptors.items():
            os.close(descriptor)
            if child := _children.get(process.pid):
                child.poll()
                if child.returncode is not None:
                    del _children[process.pid]


def marked(marker: str) -> list[Process]:
    """Find the processes whose environment carries the marker of a group, this process excepted."""
    wanted = f"{MARKER}={marker}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        started = _started(int(entry.name))
        if wanted in variables and started is not None:
            found.append(Process(pid=int(entry.name), started=started))
    return found


def _started(pid: int) -> int | None:
    try:
        # The second field is the name in parentheses and may hold blanks itself.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def _open(process: Process) -> int | None:
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return None
    # Only now that the descriptor holds the process can its start be compared without a race.
    if not process.alive:
        os.close(descriptor)
        return None
    return descriptor


def _signal(descriptor: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return


def _wait(descriptors: set[int], seconds: float) -> set[int]:
    poll = select.poll()
    remaining = set(descriptors)
    for descriptor in remaining:
        poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + seconds
    while remaining and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            poll.unregister(descriptor)
            remaining.discard(descriptor)
    return remaining
