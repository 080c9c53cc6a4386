"""SIGTERM and SIGINT: the first asks to stop, the second ends the process (MG6)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import FrameType
from typing import Final

from kaito_controller.machinery.process.heartbeat import die

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def stop_on_signals(end: Callable[[str], None] = die) -> asyncio.Event:
    """Return an event that the first signal sets; from then on another one ends the process with code 1.

    The second is answered by Python itself and not by the loop: it may be the loop that is stuck.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def again(number: int, _: FrameType | None) -> None:
        end(f"{signal.Signals(number).name} for a second time")

    def first() -> None:
        stop.set()
        for each in SIGNALS:
            loop.remove_signal_handler(each)
            signal.signal(each, again)

    for number in SIGNALS:
        loop.add_signal_handler(number, first)
    return stop
