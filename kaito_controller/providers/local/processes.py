"""Processes of others, named so that a number used again by somebody else is never taken for them."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from pathlib import Path

from attrs import frozen


@frozen(kw_only=True)
class ProcessId:
    """A process of this machine: its number and when it started, in clock ticks since boot (proc(5), field 22)."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """Return the identity of the process that has this number now, or None when there is none or only its zombie.

        The number is read against the /proc that is mounted where the caller runs.
        """
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else cls(pid=pid, started=int(fields[19]))

    def is_alive(self) -> bool:
        """Whether this very process still runs."""
        return ProcessId.of(self.pid) == self

    def end(self, number: signal.Signals, *, timeout_s: float) -> bool:
        """Send it a signal and wait until it is gone; False when it outlives `timeout_s`.

        Works for processes that are not our children, and never hits another process under the same number: the
        handle is taken first and the identity checked after.
        """
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.is_alive():
                return True
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            return bool(poll.poll(timeout_s * 1000))
        finally:
            os.close(handle)
