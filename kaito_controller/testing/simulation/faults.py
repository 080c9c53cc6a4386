"""Which faults a simulated world has, how often, and until when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from random import Random

from attrs import define, field

from kaito_controller.testing.simulation.trace import Trace


class Fault(Enum):
    """Everything that can go wrong, by the place where it does."""

    # A request, or the opening of a stream.
    REFUSED = "refused"
    RESET = "reset before the server saw it"
    UNANSWERED = "no answer, not done"
    LOST = "done, connection lost before the answer"
    LATE = "done, answer too late"
    SLOW = "slow answer"
    DETOUR = "request arrives late"
    BUSY = "429"
    BUSY_AFTER = "429 with Retry-After"
    UNAVAILABLE = "503 with Retry-After"
    PROXY = "502 with an HTML page"
    INTERNAL = "500"
    UNAUTHORIZED = "401"
    EXPIRED = "410"
    TOO_LARGE = "504, resource version from the future"
    # A stream, at a line.
    CUT = "cut anywhere"
    JOINED = "several lines in one chunk"
    STALL = "stall within a line"
    HOLE = "open and silent for good"
    BROKEN = "connection reset within a line"
    END = "end after a line"
    TORN = "end within a line"
    TWICE = "line sent twice"
    GARBAGE = "line that is no JSON"
    LONG = "line of 5 MiB"
    BLANK = "blank line"
    LATE_END = "end of the initial events after later events"
    ODD = "event of an unknown type"
    ERROR_GONE = "410 in the stream"
    ERROR_INTERNAL = "500 in the stream"
    ERROR_BUSY = "429 in the stream"
    ERROR_OTHER = "another Status in the stream"
    # The server, and the machine of the client.
    RESTART = "server restarts"
    HANG_UP = "server ends all streams"
    COMPACTION = "history is compacted"
    WALL_CLOCK = "wall clock is set"
    SLOW_LOOP = "event loop stands still"


CALL = (
    *(Fault.REFUSED, Fault.RESET, Fault.UNANSWERED, Fault.LOST, Fault.LATE, Fault.SLOW, Fault.DETOUR, Fault.BUSY),
    *(
        Fault.BUSY_AFTER,
        Fault.UNAVAILABLE,
        Fault.PROXY,
        Fault.INTERNAL,
        Fault.UNAUTHORIZED,
        Fault.EXPIRED,
        Fault.TOO_LARGE,
    ),
)
LINE = (
    *(Fault.CUT, Fault.JOINED, Fault.STALL, Fault.HOLE, Fault.BROKEN, Fault.END, Fault.TORN, Fault.TWICE),
    *(Fault.GARBAGE, Fault.LONG, Fault.BLANK, Fault.ODD),
    *(Fault.ERROR_GONE, Fault.ERROR_INTERNAL, Fault.ERROR_BUSY, Fault.ERROR_OTHER),
)
HAPPENING = (Fault.RESTART, Fault.HANG_UP, Fault.COMPACTION, Fault.WALL_CLOCK, Fault.SLOW_LOOP)

RATES = (0.01, 0.03, 0.1, 0.3)
"""Chances per opportunity. One rare and one frequent fault together reach states that no single rate does."""
KINDS_SHARE = (0.0, 0.1, 0.25, 0.5)
"""Shares of the kinds that are on in one world: few at a time, for a fault that is always there hides others."""
COSTLY = 0.002
"""The chance of a line of 5 MiB where it is on: decoding one costs as much as a whole world."""


@define
class Faults:
    """The faults of one world. Each place asks with `draw` whether one of its kinds happens now."""

    rng: Random
    trace: Trace
    rates: Mapping[Fault, float]
    is_active: bool = True
    count: int = field(init=False, default=0)

    @classmethod
    def drawn(cls, rng: Random, trace: Trace, kinds: Sequence[Fault] = tuple(Fault)) -> Faults:
        """A random choice of kinds, each with a random rate."""
        share = rng.choice(KINDS_SHARE)
        rates = {kind: rng.choice(RATES) for kind in kinds if rng.random() < share}
        if Fault.LONG in rates:
            rates[Fault.LONG] = COSTLY
        return cls(rng, trace, rates)

    def draw(self, kinds: Sequence[Fault], place: str) -> Fault | None:
        """The fault that happens now, if any."""
        if not self.is_active or not self.rates:
            return None
        for kind in kinds:
            rate = self.rates.get(kind)
            if rate is not None and self.rng.random() < rate:
                self.count += 1
                self.trace.note("fault", kind.value, place)
                return kind
        return None

    def stop(self) -> None:
        """From now on everything works."""
        self.is_active = False
        self.trace.note("fault", "none from now on")
