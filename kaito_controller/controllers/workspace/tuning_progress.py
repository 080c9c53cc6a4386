"""`status.tuning`: what the training last said of itself, checked, and written only now and then. Pure.

A pod reports more often than anybody reads a status, and each write wakes everybody who watches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from attrs import frozen

from kaito_controller.controllers.workspace import job_pods
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.tuning_state import State
from kaito_controller.kube import metadata
from kaito_controller.kube.metadata import Object
from kaito_controller.kube.timestamps import format_timestamp, parse_timestamp

WRITE_PERIOD_S: Final = 10.0
PHASES: Final = ("Preparing", "Training", "Saving", "Pushing", "Succeeded", "Failed")

_COUNTS: Final = ("step", "totalSteps")
_MEASURES: Final = ("epoch", "loss")
_LARGEST_COUNT: Final = 2**53
_LONGEST_RUN_S: Final = 366 * 24 * 3600.0
_OUTPUT_LIMIT: Final = 1024


@frozen(kw_only=True)
class Run:
    """A run whose progress is asked for: its identity, its Job if there is one, where it stands, where it pushes to."""

    identity: str
    job: Object | None
    state: State
    image: str


def progress(snapshot: Snapshot, run: Run, *, now: datetime) -> Object:
    """Return what `status.tuning` should read."""
    before: Object = (snapshot.raw.get("status") or {}).get("tuning") or {}
    if before.get("run") != run.identity:
        before = {}
    figures = _figures(_report(snapshot, run), now)
    after = {"run": run.identity, **_lasting(before), **figures}
    has_ended = run.state in {State.SUCCEEDED, State.FAILED}
    if has_ended:
        after.pop("estimatedCompletionTime", None)
        after["phase"] = run.state.value
    if run.state is State.SUCCEEDED and run.image:
        after.setdefault("output", run.image)
    # What was said at the end is not said again, so it does not wait.
    waits = not has_ended and _is_fresh(before, now) and before.get("phase") == after.get("phase")
    if waits or _same(before, after):
        return before
    return {**after, "lastUpdateTime": format_timestamp(now)}


def _report(snapshot: Snapshot, run: Run) -> Mapping[str, Any]:
    """What the newest pod says; what it said at its end stands for good."""
    mine = job_pods.of_job(snapshot, run.job) if run.job is not None else ()
    if not mine:
        return {}
    return job_pods.last_words(mine[-1]) or snapshot.reports.get(metadata.name(mine[-1])) or {}


def _figures(report: Mapping[str, Any], now: datetime) -> Object:
    """Those of a report that have the form they should; anything else is left out."""
    found: Object = {}
    if report.get("state") in PHASES:
        found["phase"] = report["state"]
    for name in _COUNTS:
        value = report.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_COUNT:
            found[name] = value
    for name in _MEASURES:
        value = _finite(report.get(name))
        if value is not None:
            found[name] = round(value, 4)
    left_s = _finite(report.get("etaSeconds"))
    if left_s is not None and 0 <= left_s <= _LONGEST_RUN_S:
        found["estimatedCompletionTime"] = format_timestamp(now + timedelta(seconds=left_s))
    output = report.get("output")
    if isinstance(output, str) and 0 < len(output) <= _OUTPUT_LIMIT and output.isprintable():
        found["output"] = output
    return found


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _lasting(before: Object) -> Object:
    return {name: value for name, value in before.items() if name not in {"run", "lastUpdateTime"}}


def _same(before: Object, after: Object) -> bool:
    """Whether nothing but the estimate differs, which moves by itself."""
    moving = {"lastUpdateTime", "estimatedCompletionTime"}
    kept = set(before) - moving == set(after) - moving
    return (
        kept
        and all(before[name] == after[name] for name in set(after) - moving)
        and (("estimatedCompletionTime" in before) == ("estimatedCompletionTime" in after))
    )


def _is_fresh(before: Object, now: datetime) -> bool:
    try:
        written = parse_timestamp(str(before.get("lastUpdateTime") or ""))
    except ValueError:
        return False
    return now - written < timedelta(seconds=WRITE_PERIOD_S)
