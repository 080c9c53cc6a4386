"""Processes are found again and ended for certain, and nobody else's is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kaito_controller.testing.eventually import eventually
from kaito_controller.testing.processes import Process, Processes, marked

STUBBORN = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"]


def test_a_record_is_enough_to_stop_it(tmp_path: Path) -> None:
    """Another object on the same folder, as another call of a tool would have, finds the process and ends it."""
    process = Processes(tmp_path).start("sleeper", ["sleep", "600"], folder=tmp_path)
    found = Processes(tmp_path)
    assert found.get("sleeper") == process
    found.stop("sleeper")
    assert not process.alive
    assert found.get("sleeper") is None
    assert found.names() == []


def test_an_exit_code_is_told_once_it_has_ended(tmp_path: Path) -> None:
    """A program that runs has none yet, and one that was never started has none at all."""
    processes = Processes(tmp_path)
    os.mkfifo(tmp_path / "go")
    processes.start("failing", ["sh", "-c", "read _ < go; exit 3"], folder=tmp_path)
    assert (processes.exit_code("failing"), processes.exit_code("unknown")) == (None, None)
    (tmp_path / "go").write_text("\n")
    eventually("it has ended", lambda: processes.exit_code("failing") == 3)
    assert processes.get("failing") is None


def test_one_without_a_record_is_found_by_its_marker(tmp_path: Path) -> None:
    """When the record is lost, stopping all still ends the process."""
    processes = Processes(tmp_path)
    process = processes.start("sleeper", ["sleep", "600"], folder=tmp_path)
    (tmp_path / "processes" / "sleeper.json").unlink()
    # The kernel shows the environment a moment after the program was started.
    eventually("it is found", lambda: marked(str(tmp_path.resolve())) == [process])
    processes.stop_all()
    assert not process.alive


def test_a_recycled_number_is_not_signalled(tmp_path: Path) -> None:
    """A record whose process started at another time names somebody else, who is left alone."""
    with subprocess.Popen(["sleep", "600"]) as other:
        processes = Processes(tmp_path)
        (tmp_path / "processes").mkdir()
        (tmp_path / "processes" / "x.json").write_text(json.dumps({"pid": other.pid, "started": 1}))
        assert processes.get("x") is None
        processes.stop("x")
        assert other.poll() is None
        other.kill()


def test_one_that_ignores_the_request_is_ended_by_force(tmp_path: Path) -> None:
    """SIGTERM that is not heard is followed by SIGKILL, and what it printed is kept."""
    processes = Processes(tmp_path)
    process = processes.start("stubborn", STUBBORN, folder=tmp_path)
    eventually("it ignores SIGTERM", lambda: "ready" in processes.last_words("stubborn"))
    processes.stop("stubborn", grace_s=0.05)
    assert not process.alive


def test_one_that_ended_is_not_alive_though_nobody_reaped_it(tmp_path: Path) -> None:
    """A process that came to its end by itself counts as gone."""
    process = Processes(tmp_path).start("short", ["true"], folder=tmp_path)
    eventually("it has ended", lambda: not process.alive)
    assert not Process(pid=process.pid, started=process.started).alive
    Processes(tmp_path).stop("short")


def test_one_that_dies_with_its_parent_outlives_the_thread_that_asked(tmp_path: Path) -> None:
    """A thread that comes to its end takes nothing with it."""
    processes = Processes(tmp_path, die_with_parent=True)
    with ThreadPoolExecutor() as pool:
        process = pool.submit(processes.start, "sleeper", ["sleep", "600"], folder=tmp_path).result()
    assert process.alive
    processes.stop("sleeper")


def test_one_that_dies_with_its_parent_does(tmp_path: Path) -> None:
    """When the process that started it is killed, the kernel ends it."""
    code = (
        "import pathlib, sys, time\nfrom kaito_controller.testing.processes import Processes\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "Processes(folder, die_with_parent=True).start('sleeper', ['sleep', '600'], folder=folder)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) as parent:
        processes = Processes(tmp_path)
        eventually("it was started", lambda: processes.get("sleeper") is not None)
        parent.kill()
    eventually("it is gone", lambda: processes.get("sleeper") is None)
