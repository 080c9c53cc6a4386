"""What a decision about a Workspace comes out as, and what carrying it out came to."""

from __future__ import annotations

from attrs import frozen

from kaito_controller.api.reasons import Reason
from kaito_controller.kube.conditions import FALSE, TRUE
from kaito_controller.machinery.reconcile.request import Result


@frozen(kw_only=True)
class Blocked:
    """No plan can be made: the reason and what to change. ``waits`` when time or a node may change it by itself."""

    reason: Reason
    message: str
    waits: bool = False


@frozen(kw_only=True)
class Verdict:
    """The state of one condition: whether it holds, and why."""

    holds: bool
    reason: str
    message: str

    @property
    def status(self) -> str:
        """The condition's status."""
        return TRUE if self.holds else FALSE


@frozen(kw_only=True)
class Notice:
    """Something worth an event: what was done or what went wrong."""

    reason: Reason
    note: str
    warning: bool = False
    action: str = ""


@frozen(kw_only=True)
class StepResult:
    """What one step came to.

    ``refusal`` takes the place of the step's own condition, because the API server would not let the step do its work;
    ``error`` is what the worker retries with backoff; with ``goes_on`` the steps that follow are run all the same.
    """

    notices: tuple[Notice, ...] = ()
    refusal: Blocked | None = None
    error: Exception | None = None
    goes_on: bool = False
    requeue_after_s: float | None = None
    why: str = ""


@frozen(kw_only=True)
class Outcome:
    """What all steps came to, by the step's name."""

    steps: dict[str, StepResult]

    def refusal(self, step: str) -> Blocked | None:
        """Return why a step could not do its work, or None."""
        found = self.steps.get(step)
        return found.refusal if found is not None else None

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Everything that was done, in the order of the steps."""
        return tuple(notice for step in self.steps.values() for notice in step.notices)

    def result(self) -> Result:
        """Raise the first step's error, or say when to look again."""
        for step in self.steps.values():
            if step.error is not None:
                raise step.error
        waiting = [step for step in self.steps.values() if step.requeue_after_s is not None]
        if not waiting:
            return Result.done()
        soonest = min(waiting, key=lambda step: step.requeue_after_s or 0.0)
        return Result.requeue(soonest.requeue_after_s or 0.0, soonest.why)
