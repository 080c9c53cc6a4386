"""How far a tuning is: written by the training, read by the report and the metrics, both at any time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from enum import Enum
from threading import Lock
from typing import Any, Final

from attrs import evolve, frozen

MAX_MESSAGE_BYTES: Final = 4096


class State(Enum):
    """What a tuning is doing; the last two are for ever."""

    PREPARING = "Preparing"
    TRAINING = "Training"
    SAVING = "Saving"
    PUSHING = "Pushing"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@frozen(kw_only=True)
class Snapshot:
    """All that is known at one moment; None is unknown.

    Attributes:
        step: optimizer steps done, of `total_steps`.
        loss: of the last logged steps; `eval_loss` of the rows that were kept apart.
        tokens: input tokens that were learnt from, by all processes.
        eta_s: seconds until the last step, by the pace so far.
        message: what happened last, or why it ended.
        output: where the adapter is.
    """

    state: State = State.PREPARING
    step: int | None = None
    total_steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    tokens: int | None = None
    eta_s: float | None = None
    message: str = ""
    output: str = ""

    def report(self) -> Mapping[str, Any]:
        """As `/report` answers it: what is unknown is left out, so is what JSON cannot say."""
        found = {
            "state": self.state.value,
            "step": self.step,
            "totalSteps": self.total_steps,
            "epoch": _finite(self.epoch),
            "loss": _finite(self.loss),
            "evalLoss": _finite(self.eval_loss),
            "learningRate": _finite(self.learning_rate),
            "tokens": self.tokens,
            "etaSeconds": None if self.eta_s is None else round(self.eta_s),
            "message": self.message.encode()[:MAX_MESSAGE_BYTES].decode("utf-8", "ignore") or None,
            "output": self.output or None,
        }
        return {name: value for name, value in found.items() if value is not None}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


class Progress:
    """The one place where the present state is."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._now = Snapshot()
        self._began: tuple[float, int] | None = None

    def now(self) -> Snapshot:
        """The present state."""
        with self._lock:
            return self._now

    def tell(self, **changes: Any) -> None:
        """Change some of it. A state that is for ever stays."""
        with self._lock:
            if self._now.state not in (State.SUCCEEDED, State.FAILED):
                self._now = evolve(self._now, **changes)

    def begin(self, step: int, total_steps: int) -> None:
        """Training begins, after the steps of earlier tries: these took none of this try's time."""
        self._began = (self._clock(), step)
        self.tell(state=State.TRAINING, step=step, total_steps=total_steps, message="")

    def stepped(self, step: int, epoch: float | None, tokens: int | None) -> None:
        """One more optimizer step is done."""
        began_s, first = self._began or (self._clock(), 0)
        done, total = step - first, self.now().total_steps
        left = None if total is None or done <= 0 else (total - step) * (self._clock() - began_s) / done
        self.tell(step=step, epoch=epoch, tokens=tokens, eta_s=left)
