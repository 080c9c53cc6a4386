"""The supervisor with real child processes that end in the ways an engine does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import psutil
import pytest

from inference_server import contract, ending
from inference_server.serve import __main__ as serve
from inference_server.serve import leader, supervisor
from inference_server.serve.causes import Cause
from inference_server.serve.supervisor import Supervisor
from kaito_controller.testing.eventually import eventually

ROOT = Path(__file__).resolve().parents[2]


def run(script: str, capfd: pytest.CaptureFixture[str] | None = None) -> Cause:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return Supervisor(command=[sys.executable, "-c", textwrap.dedent(script)], environment=environment).run()


def test_output_is_passed_on_whole_and_apart(capfd: pytest.CaptureFixture[str]):
    """Every byte of both streams, more than a pipe holds, and what comes last before a crash."""
    script = """
        import os, sys
        for number in range(20_000):
            print("out", number)
        sys.stdout.flush()
        os.write(2, b"no line end")
        os._exit(3)
    """
    cause = run(script)
    out, err = capfd.readouterr()
    assert out == "".join(f"out {number}\n" for number in range(20_000))
    assert err == "no line end"
    assert cause == Cause(code=contract.EXIT_ENGINE, text="the engine died; its own lines above say why")


def test_a_refusal_of_the_engines_process_stands(capfd: pytest.CaptureFixture[str]):
    """What its own checks refuse is told as it is, with its exit code."""
    script = """
        import sys
        from inference_server.serve.supervisor import Verdict, report
        print("ValueError: CUDA out of memory", file=sys.stderr)
        report(Verdict(code=78, cause="vllm.x: unknown", final=True))
        sys.exit(78)
    """
    assert run(script) == Cause(code=78, text="vllm.x: unknown")


def test_the_cause_is_found_in_what_a_subprocess_of_the_engine_said(capfd: pytest.CaptureFixture[str]):
    """The process that serves says only that another failed; that one's last error is told."""
    script = """
        import subprocess, sys
        from inference_server.serve.supervisor import Verdict, report
        child = "import sys; print('(EngineCore pid=2) ERROR 01-01 00:00:00 [core.py:1] torch.OutOfMemoryError:"
        child += " CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has', file=sys.stderr)"
        subprocess.run([sys.executable, "-c", child])
        last = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
        report(Verdict(code=70, cause=last, final=False))
        sys.exit(70)
    """
    cause = run(script)
    assert cause.code == contract.EXIT_MEMORY
    assert cause.text.startswith("memory of the GPU: CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize(
    ("number", "code", "told"),
    [
        (signal.SIGKILL, contract.EXIT_ENGINE, "was killed (SIGKILL)"),
        (signal.SIGBUS, contract.EXIT_MEMORY, f"{contract.SHARED_MEMORY_DIRECTORY} ("),
        (signal.SIGSEGV, contract.EXIT_ENGINE, "crashed in native code (SIGSEGV)"),
    ],
)
def test_a_process_that_cannot_speak_is_spoken_for(
    number: int, code: int, told: str, capfd: pytest.CaptureFixture[str]
):
    """Killed, out of /dev/shm, crashed in native code: the parent writes the cause."""
    cause = run(f"import os; os.kill(os.getpid(), {int(number)})")
    assert cause.code == code
    assert told in cause.text


def test_what_the_engine_leaves_behind_is_ended(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """A process that would hold the GPU after a crash is gone when the cause is told, and does not delay it."""
    note = tmp_path / "pid"
    script = f"""
        import os, subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open({str(note)!r}, "w").write(str(child.pid))
        os._exit(1)
    """
    run(script)
    number = int(note.read_text())

    def is_over() -> bool:
        return not psutil.pid_exists(number) or psutil.Process(number).status() == psutil.STATUS_ZOMBIE

    # The kernel takes a moment to end what it was told to kill.
    eventually("the leftover process has ended", is_over)


def server_process(tmp_path: Path, body: str) -> subprocess.Popen[bytes]:
    """A process that supervises a child of this body, and says in a file what came of it."""
    script = f"""
        import os, sys
        from inference_server.serve.supervisor import Supervisor
        body = {textwrap.dedent(body)!r}
        cause = Supervisor(command=[sys.executable, "-c", body], environment=os.environ).run()
        open({str(tmp_path / "cause")!r}, "w").write(f"{{cause.code}} {{cause.text}}")
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], env=environment, stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_engine_which_ends_in_its_own_time(number: int, tmp_path: Path):
    """The child finishes what it does, and the end is the signal's, not a crash."""
    body = """
        import os, signal, sys
        reading, writing = os.pipe()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: os.write(writing, b"x"))
        print("ready", flush=True)
        os.read(reading, 1)
        print("finished", flush=True)
    """
    process = server_process(tmp_path, body)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert out == b"finished\n"
    assert (tmp_path / "cause").read_text() == f"0 stopped by {signal.Signals(number).name}"


def test_an_engine_that_ends_before_it_listens_was_stopped(tmp_path: Path):
    """The signal comes while the engine is still importing: the default ends it, and that is no crash."""
    process = server_process(tmp_path, "print('ready', flush=True); import time; time.sleep(600)")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert (tmp_path / "cause").read_text() == "0 stopped by SIGTERM"


def test_a_later_rank_waits_for_the_first(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """One model on several nodes: a later rank goes when the first serves no more, else running answers would break."""
    child = "import os, signal; os.kill(os.getppid(), signal.SIGTERM); signal.pause()"
    with socket.create_server(("127.0.0.1", 0)) as first:
        host, port = first.getsockname()
        looks: list[bool] = []
        is_gone = leader.is_gone

        def look(*place: Any) -> bool:
            looks.append(is_gone(*place))
            if len(looks) == 2:
                first.close()
            return looks[-1]

        monkeypatch.setattr(leader, "is_gone", look)
        ranked = Supervisor(command=[sys.executable, "-c", child], environment=os.environ, later_rank_of=(host, port))
        assert ranked.run() == Cause(code=contract.EXIT_OK, text="stopped by SIGTERM")
    assert looks == [False, False, True]


def test_the_kernels_count_of_killed_processes_is_read(tmp_path: Path):
    """From memory.events of cgroup v2; where it is not, none is counted."""
    events = tmp_path / "memory.events"
    events.write_text("low 0\nhigh 0\nmax 4\noom 1\noom_kill 2\noom_group_kill 0\n")
    assert supervisor.oom_kills(events) == 2
    assert supervisor.oom_kills(tmp_path / "none") == 0


def test_shared_memory_is_described(tmp_path: Path):
    assert "MiB free" in supervisor.shared_memory(str(tmp_path))
    assert supervisor.shared_memory("/nowhere") == "not there"


def test_an_engine_that_cannot_be_started_ended_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    log = tmp_path / "termination-log"
    log.touch()
    monkeypatch.setattr(ending, "TERMINATION_LOG", log)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    assert serve.main(["--model", "org/name"]) == contract.EXIT_ENGINE
    assert "the engine could not be started: FileNotFoundError" in log.read_text()
