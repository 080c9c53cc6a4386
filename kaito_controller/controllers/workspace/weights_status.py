"""How far a model's files are, from what the agents in the pods report, which is read as untrusted. Pure.

Each pod fetches for itself; the one that is farthest behind is what the Workspace waits for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve

from inference_server import contract
from kaito_controller.api.reasons import Reason
from kaito_controller.api.workspace import WeightsStatus
from kaito_controller.controllers.workspace.serving import ServingPlan
from kaito_controller.controllers.workspace.snapshot import Snapshot
from kaito_controller.controllers.workspace.verdict import Verdict
from kaito_controller.kube import metadata
from kaito_controller.kube.metadata import Object
from kaito_controller.workloads.weights import weights_of

MESSAGE_LIMIT: Final = 512
TEXT_LIMIT: Final = 1024
_MOST: Final = 2**62
_STATES: Final = (contract.WEIGHTS_FAILED, contract.WEIGHTS_FETCHING, contract.WEIGHTS_READY)
_REVISION: Final = re.compile(r"[A-Za-z0-9:._-]{1,128}")
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_STEP: Final = 1000


def fetches(plan: ServingPlan) -> bool:
    """Whether the pods of a plan have their files brought by an agent."""
    return weights_of(plan.workspace, plan.preset, plan.runtime, plan.runtime_parameters).fetch is not None


def weights(plan: ServingPlan, snapshot: Snapshot) -> WeightsStatus | None:
    """The standing of the pod that is farthest behind; what was known before while nobody has told anew."""
    if not fetches(plan):
        return None
    mine = snapshot.pods_of(snapshot.stateful_set)
    names = {metadata.name(pod) for pod in mine}
    found = [
        evolve(standing, pod=name)
        for name, report in sorted(snapshot.reports.items())
        if name in names and (standing := standing_of(report)) is not None
    ]
    standing = min(found, key=_place, default=plan.workspace.status.weights)
    if standing is not None and mine and all(_is_ready(pod) for pod in mine):
        # They serve: whoever was on the way when last asked has arrived.
        return evolve(standing, state=contract.WEIGHTS_READY, bytes_per_second=None, message="")
    return standing


def standing_of(report: Mapping[str, Any]) -> WeightsStatus | None:
    """What one report says of the files; None when it says nothing that has the form of it."""
    raw = report.get("weights")
    if not isinstance(raw, Mapping) or raw.get("state") not in _STATES:
        return None
    revision = raw.get("revision")
    return WeightsStatus(
        state=str(raw["state"]),
        source=_line(raw.get("source"), TEXT_LIMIT),
        revision=revision if isinstance(revision, str) and _REVISION.fullmatch(revision) else "",
        bytes_done=_count(raw.get("bytesDone")),
        bytes_total=_count(raw.get("bytesTotal")),
        bytes_per_second=_count(raw.get("bytesPerSecond")),
        message=_line(raw.get("message"), MESSAGE_LIMIT),
    )


def is_settled(plan: ServingPlan, snapshot: Snapshot) -> bool:
    """Whether nobody needs to be asked: nothing is fetched, or every pod has all of it."""
    if not fetches(plan):
        return True
    ready = {
        name
        for name, report in snapshot.reports.items()
        if (standing := standing_of(report)) is not None and standing.state == contract.WEIGHTS_READY
    }
    return all(metadata.name(pod) in ready or _is_ready(pod) for pod in snapshot.pods_of(snapshot.stateful_set))


def verdict(standing: WeightsStatus | None) -> Verdict | None:
    """Why a pod does not serve yet, as far as that is for its files; None when it is not."""
    if standing is None or standing.state == contract.WEIGHTS_READY:
        return None
    where = f"pod {standing.pod}: " if standing.pod else ""
    if standing.state == contract.WEIGHTS_FAILED:
        return Verdict(holds=False, reason=Reason.WEIGHTS_FAILED, message=f"{where}{standing.message}"[:TEXT_LIMIT])
    told = "; ".join(part for part in (progress_text(standing), standing.message) if part)
    text = f"{where}weights are being fetched{': ' if told else ''}{told}"
    return Verdict(holds=False, reason=Reason.WEIGHTS_FETCHING, message=text[:TEXT_LIMIT])


def progress_text(standing: WeightsStatus) -> str:
    """`12.3 of 28.1 GB, 220.0 MB/s, about 71 s left`, as far as it is known."""
    if standing.bytes_done is None:
        return ""
    done, total, speed = standing.bytes_done, standing.bytes_total, standing.bytes_per_second
    parts = [f"{_size(done)} of {_size(total)}" if total else _size(done)]
    if speed is not None:
        parts.append(f"{_size(speed)}/s")
        if total and speed > 0:
            parts.append(f"about {max(0, total - done) // speed} s left")
    return ", ".join(parts)


def _place(standing: WeightsStatus) -> tuple[int, float]:
    """Failed first, then the least share of the bytes."""
    share = (standing.bytes_done or 0) / standing.bytes_total if standing.bytes_total else 0.0
    return _STATES.index(standing.state), share


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _size(count: int) -> str:
    value = float(count)
    for unit in _UNITS:
        if value < _STEP or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _STEP
    return ""


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= _MOST else None


def _line(value: Any, limit: int) -> str:
    if not isinstance(value, str):
        return ""
    return "".join(letter if letter.isprintable() else " " for letter in value[:limit])
