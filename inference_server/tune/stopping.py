"""SIGTERM: while training it is an announcement, before it is the end, and after it nothing more is lost by waiting."""

from __future__ import annotations

import signal
from types import FrameType


class StoppedError(BaseException):
    """The process is to end now. Not an Exception, so that no library takes it for a failure of its own."""


class Stopping:
    """What a signal does at the moment: `gentle` sets the mark that the training looks at, else it ends at once."""

    def __init__(self) -> None:
        self.gentle = False
        self.asked = False

    def install(self) -> None:
        """Take SIGTERM from now on. SIGINT comes from a terminal to all processes, and the supervisor hands it on."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        # The last words of a process that ends already are not to be cut off.
        if not self.gentle and not again:
            raise StoppedError
