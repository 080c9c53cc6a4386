"""Playing seeds: one by one, and by the thousand."""

from __future__ import annotations

import gc
import logging
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random

import structlog
from attrs import frozen

from kaito_controller.testing.clock import DeadlockError, VirtualClock
from kaito_controller.testing.simulation.controllers import ControllerWorld
from kaito_controller.testing.simulation.electors import ElectionWorld
from kaito_controller.testing.simulation.informers import InformerWorld
from kaito_controller.testing.simulation.loop import SimulationLoop
from kaito_controller.testing.simulation.queues import QueueWorld
from kaito_controller.testing.simulation.recorders import RecorderWorld
from kaito_controller.testing.simulation.trace import Violation
from kaito_controller.testing.simulation.world import World

CHANCES: Sequence[tuple[type[World], int]] = (
    (InformerWorld, 8),
    (ControllerWorld, 5),
    (ElectionWorld, 2),
    (QueueWorld, 3),
    (RecorderWorld, 2),
)
WORLDS: Mapping[str, tuple[type[World], int]] = {world.name: (world, weight) for world, weight in CHANCES}
"""Every world, and how often it is drawn."""
LAST_ACTIONS = 40


@frozen(kw_only=True)
class Outcome:
    """How one seed ended.

    Attributes:
        digest: the fingerprint of everything that happened.
        virtual_s: how much time passed in the world.
        faults: how many faults it had.
        failure: the broken invariant; empty when all was well.
        story: for a failure, what led to it.
    """

    seed: int
    world: str
    digest: str
    virtual_s: float
    faults: int
    failure: str = ""
    story: Sequence[str] = ()

    def report(self) -> str:
        """A failure as text: what, how to repeat it, and what happened."""
        head = f"seed {self.seed}, world {self.world}: {self.failure}"
        return "\n".join([head, f"repeat: --seed {self.seed} --world {self.world}", *self.story])


def world_of(seed: int) -> str:
    """Which world a seed plays in."""
    names = list(WORLDS)
    weights = [weight for _, weight in WORLDS.values()]
    return Random(f"world {seed}").choices(names, weights)[0]  # noqa: S311 - a simulation, not a secret


def play(seed: int, name: str = "", *, whole_story: bool = False) -> Outcome:
    """Play one seed, in the world that it draws or in the one named."""
    name = name or world_of(seed)
    clock = VirtualClock()
    loop = SimulationLoop(clock, Random(f"{name} {seed} loop"))  # noqa: S311 - a simulation, not a secret
    world = WORLDS[name][0](seed, clock, loop)
    failure = ""
    try:
        loop.run_until_complete(world.play())
    except (Violation, DeadlockError) as error:
        failure = str(error)
    except Exception as error:  # noqa: BLE001 - an odd end of a world is a finding, too
        failure = f"{type(error).__name__}: {error}\n" + "".join(traceback.format_exception(error)[-4:])
    finally:
        _bury(loop)
    return Outcome(
        seed=seed,
        world=name,
        digest=world.trace.digest(),
        virtual_s=clock.monotonic(),
        faults=world.faults.count,
        failure=failure,
        story=_story(world, whole=whole_story) if failure or whole_story else (),
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Log nothing meanwhile."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def silence() -> None:
    """Log nothing for good: a world makes thousands of lines, and its trace says more."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL), cache_logger_on_first_use=True
    )
    # A world's objects die together; looking for cycles among them while it is played only costs time.
    gc.freeze()
    gc.disable()


def _story(world: World, *, whole: bool) -> Sequence[str]:
    rates = ", ".join(f"{kind.name} {rate}" for kind, rate in world.faults.rates.items())
    last = 0 if whole else LAST_ACTIONS
    return [
        f"faults on: {rates or 'none'}",
        "faults that happened:",
        *world.trace.lines(only="fault", last=last),
        "last actions:",
        *world.trace.lines(last=last),
    ]


def _bury(loop: SimulationLoop) -> None:
    """Close a loop in which things may still be under way, without their last words."""
    loop.set_exception_handler(lambda *_: None)
    loop.after_step = None
    loop.bury()
