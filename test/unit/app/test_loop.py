"""Which event loop runs the operator, and how signals end it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys

import pytest

from kaito_controller.app.loop import loop_factory
from kaito_controller.app.options import OptionsError
from kaito_controller.machinery.process.signals import SIGNALS, stop_on_signals

HAS_UVLOOP = importlib.util.find_spec("uvloop") is not None


def test_asyncio_is_there_for_whoever_wants_it() -> None:
    """KAITO_LOOP=asyncio: whatever is installed."""
    assert loop_factory({"KAITO_LOOP": "asyncio"}) is None


def test_uvloop_is_taken_where_it_is_installed() -> None:
    """Unasked when it is there; asked for, its absence is an error that says what to do."""
    if HAS_UVLOOP:
        assert loop_factory({}) is loop_factory({"KAITO_LOOP": "uvloop"}) is not None
        return
    assert loop_factory({}) is None
    with pytest.raises(OptionsError, match="KAITO_LOOP: uvloop is not installed; pip install uvloop"):
        loop_factory({"KAITO_LOOP": "uvloop"})


def test_an_unknown_loop_is_refused() -> None:
    """By its name, with what there is."""
    with pytest.raises(OptionsError, match="there is no 'trio'; choose from asyncio, uvloop"):
        loop_factory({"KAITO_LOOP": "trio"})


@pytest.mark.scenario("MG6")
@pytest.mark.parametrize("loop", ["asyncio", *(["uvloop"] if HAS_UVLOOP else [])])
@pytest.mark.parametrize(("first", "second"), [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)])
def test_the_first_signal_stops_and_the_second_ends(loop: str, first: signal.Signals, second: signal.Signals) -> None:
    """The second is answered even while the loop is stuck, by whatever ends the process."""
    ended: list[str] = []

    async def scenario() -> None:
        stop = stop_on_signals(ended.append)
        os.kill(os.getpid(), first)
        async with asyncio.timeout(5):
            await stop.wait()
        assert ended == []
        os.kill(os.getpid(), second)
        # No turn of the loop in between: Python itself has to answer.
        sum(range(1000))
        assert ended == [f"{second.name} for a second time"]

    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        with asyncio.Runner(loop_factory=loop_factory({"KAITO_LOOP": loop})) as runner:
            runner.run(scenario())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


STUCK = """
import asyncio, time
from kaito_controller.machinery.process.signals import stop_on_signals

async def main():
    stop = stop_on_signals()
    print("ready", flush=True)
    await stop.wait()
    print("stopping", flush=True)
    time.sleep(60)

asyncio.run(main())
"""


@pytest.mark.scenario("MG6")
def test_a_second_sigterm_ends_a_process_that_is_stuck_in_its_stop() -> None:
    """With exit code 1 and a word about it, although its loop never turns again."""
    with subprocess.Popen(
        [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            for expected in ("ready\n", "stopping\n"):
                assert process.stdout.readline() == expected
                process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 1
            assert process.stderr.read() == "fatal: SIGTERM for a second time\n"
        finally:
            process.kill()
