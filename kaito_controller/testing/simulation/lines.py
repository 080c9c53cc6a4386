"""What happens to the lines of a watch on their way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from random import Random

from attrs import frozen

from kaito_controller.kube.metadata import Object
from kaito_controller.machinery import codec
from kaito_controller.machinery.clock import Clock
from kaito_controller.machinery.errors import ApiConnectionError
from kaito_controller.testing.fake.watch import INITIAL_EVENTS_END, Watch
from kaito_controller.testing.simulation import answers
from kaito_controller.testing.simulation.faults import LINE, Fault, Faults
from kaito_controller.testing.simulation.pipe import Pipe

LONG_BYTES = 5 * 2**20
STALL_S = 20.0
ODD = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "odd", "namespace": "odd"}}


@frozen
class Relay:
    """Carries the events of a watch, line by line, into a pipe."""

    clock: Clock
    rng: Random
    faults: Faults
    cut: Callable[[], bool]

    async def run(self, watch: Watch, pipe: Pipe) -> None:
        """Carry until either end is reached."""
        pipe.is_joined = self.rng.random() < 0.5  # noqa: PLR2004 - a coin
        late: Object | None = None
        while (event := await watch.next()) is not None:
            if _ends_initial_events(event) and self.faults.draw((Fault.LATE_END,), ""):
                late = event
                continue
            line = codec.dumps(event) + b"\n"
            if late is not None and event["type"] != "ERROR":
                # As a server does whose objects change while it sends them.
                line += codec.dumps(_at(late, event["object"]["metadata"]["resourceVersion"])) + b"\n"
                late = None
            if self.cut():
                await asyncio.Event().wait()
            fault = self.faults.draw(LINE, f"in a line {event['type']}")
            await _send(line, fault, pipe, self.clock, self.rng)
            if pipe.is_ended:
                return


def _ends_initial_events(event: Object) -> bool:
    return event["type"] == "BOOKMARK" and INITIAL_EVENTS_END in (event["object"]["metadata"].get("annotations") or {})


def _at(bookmark: Object, version: str) -> Object:
    """The bookmark at a later version."""
    obj = bookmark["object"]
    return bookmark | {"object": obj | {"metadata": obj["metadata"] | {"resourceVersion": version}}}


async def _send(line: bytes, fault: Fault | None, pipe: Pipe, clock: Clock, rng: Random) -> None:
    half = rng.randrange(len(line)) if fault is not None else 0
    if fault in answers.IN_STREAM:
        pipe.push(answers.event("ERROR", answers.IN_STREAM[fault]))
        pipe.end()
        return
    match fault:
        case Fault.CUT:
            for piece in _pieces(line, rng):
                pipe.push(piece)
                await clock.sleep(rng.choice((0.0, 0.01)))
        case Fault.JOINED:
            pipe.push(b"\n" + line)
            await clock.sleep(0.5)
        case Fault.STALL:
            pipe.push(line[:half])
            await clock.sleep(rng.random() * STALL_S)
            pipe.push(line[half:])
        case Fault.HOLE:
            pipe.push(line[:half])
            await asyncio.Event().wait()
        case Fault.BROKEN | Fault.TORN:
            pipe.push(line[:half])
            pipe.end(ApiConnectionError("connection reset by peer") if fault is Fault.BROKEN else None)
        case Fault.END:
            pipe.push(line)
            pipe.end()
        case _:
            pipe.push(_changed(line, fault))


def _changed(line: bytes, fault: Fault | None) -> bytes:
    match fault:
        case Fault.TWICE:
            return line + line
        case Fault.GARBAGE:
            return b'{"type": "ADDED", "object\x00\xff": \n' + line
        case Fault.LONG:
            return line.replace(b"{", b'{"padding":"' + b"x" * LONG_BYTES + b'",', 1)
        case Fault.BLANK:
            return b"\n \r\n" + line
        case Fault.ODD:
            return answers.event("SOMETHING", ODD) + line
        case _:
            return line


def _pieces(line: bytes, rng: Random) -> list[bytes]:
    """The line cut at up to four places, multi-byte characters included."""
    cuts = sorted({0, len(line), *(rng.randrange(len(line)) for _ in range(rng.randint(1, 4)))})
    return [line[start:end] for start, end in pairwise(cuts)]
