"""Signals that come while a training process ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from inference_server import contract
from inference_server.tune import supervisor as module
from inference_server.tune.progress import Progress
from inference_server.tune.stopping import StoppedError, Stopping
from inference_server.tune.supervisor import Supervisor


class Ended(Supervisor):
    """The process has ended, and nobody has noticed, when the signal comes."""

    def _start(self, rank: int, count: int, port: int) -> Any:
        worker = super()._start(rank, count, port)
        os.waitid(os.P_PID, worker.process.pid, os.WEXITED | os.WNOWAIT)
        return worker


def test_a_signal_at_the_end_of_a_process_was_told_as_a_fault_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "WORKER_MODULE", "platform")
    ending = Ended(words=[], work=tmp_path, progress=Progress(), stop_signal=signal.SIGTERM).run(1)
    assert ending.code == contract.EXIT_ENGINE
    assert "left with 0" in ending.cause


def test_a_second_signal_cut_off_the_last_words_of_the_first():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    stopping = Stopping()
    stopping.install()
    try:
        with pytest.raises(StoppedError):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)
    assert stopping.asked
