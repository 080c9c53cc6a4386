"""Keeps a node's programs running, as the first process of its process namespace has to."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from attrs import define, field

_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 10.0
_STEADY_S = 30.0
"""A program that ran this long before it ended is started again at once."""


@define(kw_only=True)
class _Program:
    name: str
    command: list[str]
    pid: int = 0
    started_at: float = 0.0
    delay_s: float = _FIRST_DELAY_S
    due_at: float = 0.0


@define(kw_only=True)
class Supervisor:
    """Starts programs, starts again those that end, with growing delay, and buries everybody's orphans.

    Each program's output goes to `<logs>/<name>.log`.
    """

    logs: Path
    _programs: dict[str, _Program] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        """Have signals wait in line until `step` takes them."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a program and keep it running from now on."""
        program = _Program(name=name, command=list(command))
        self._programs[name] = program
        self._spawn(program)

    def run(self) -> None:
        """Watch over the programs until SIGTERM; then end them in the reverse order of their start."""
        while self.step(self._patience_s()):
            pass
        for program in reversed(self._programs.values()):
            self._end(program)

    def step(self, timeout_s: float) -> bool:
        """Wait for something to happen, at most `timeout_s`, and deal with it; False when SIGTERM came."""
        received = signal.sigtimedwait({signal.SIGCHLD, signal.SIGTERM}, timeout_s)
        self._bury()
        now = time.monotonic()
        for program in self._programs.values():
            if not program.pid and program.due_at <= now:
                self._spawn(program)
        return received is None or received.si_signo != signal.SIGTERM

    def _patience_s(self) -> float:
        waiting = [program.due_at for program in self._programs.values() if not program.pid]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else 3600.0

    def _spawn(self, program: _Program) -> None:
        log = os.open(self.logs / f"{program.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ]
        try:
            program.pid = os.posix_spawnp(
                program.command[0], program.command, os.environ, file_actions=actions, setsid=True, setsigmask=[]
            )
        except OSError as error:
            sys.stdout.write(f"{program.name} could not be started: {error}\n")
            self._postpone(program)
        finally:
            os.close(log)
        program.started_at = time.monotonic()

    def _bury(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for program in self._programs.values():
                if program.pid == pid:
                    sys.stdout.write(f"{program.name} ended with {os.waitstatus_to_exitcode(status)}\n")
                    sys.stdout.flush()
                    self._postpone(program)

    def _postpone(self, program: _Program) -> None:
        now = time.monotonic()
        steady = program.pid and now - program.started_at > _STEADY_S
        program.delay_s = _FIRST_DELAY_S if steady else min(program.delay_s * 2, _LONGEST_DELAY_S)
        program.pid = 0
        program.due_at = now + program.delay_s

    def _end(self, program: _Program) -> None:
        pid, program.pid = program.pid, 0
        program.due_at = float("inf")
        if not pid:
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            ended, _ = os.waitpid(pid, os.WNOHANG)
            if ended:
                return
            signal.sigtimedwait({signal.SIGCHLD}, 0.2)
